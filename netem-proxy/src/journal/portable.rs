//! A profile as a log can hold it: its SPEC, and the content of the files that the SPEC names.
//!
//! A trace or a table is read from a file once, when the link is made. A log that named the file would replay
//! something else as soon as the file changed, so the content travels with it. In the text, its place is taken by a
//! value of the same shape without content.
//!
//! Whether text and attachments really give the same profile back is tried before anything is written: a log that
//! cannot be replayed exactly says so at once instead of at its end.

use std::sync::Arc;
use std::time::Duration;

use units::Bitrate;

use super::varint::{Cursor, put, put_bytes, put_difference};
use crate::profile::{
    DelayModel, DelayTable, DelayTrace, DeliveryTrace, LinkProfile, LossModel, LossTrace, Overhead, RateModel,
};

/// A profile, ready for a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Portable {
    /// The SPEC, without what is attached.
    pub spec: String,
    attached: Vec<Attachment>,
}

#[derive(Clone, Debug, PartialEq)]
enum Attachment {
    Loss(Arc<LossTrace>),
    Rate(Arc<DeliveryTrace>),
    DelayTable(Arc<DelayTable>),
    DelayTrace(Arc<DelayTrace>),
}

/// Why a profile cannot be recorded: its SPEC does not say all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link \"{spec}\" cannot be recorded exactly ({reason}); record it without this part")]
pub struct Unportable {
    pub spec: String,
    pub reason: String,
}

impl Portable {
    /// # Errors
    /// When the profile would not come back the same.
    pub fn new(profile: &LinkProfile) -> Result<Self, Unportable> {
        let mut rest = profile.clone();
        let attached = detach(&mut rest);
        let portable = Self { spec: rest.to_string(), attached };
        let refuse = |reason: String| Unportable { spec: profile.to_string(), reason };
        if crate::spec::names_file(&portable.spec) {
            return Err(refuse("a step of its schedule reads a file".to_owned()));
        }
        let back = portable.profile().map_err(&refuse)?;
        if back == *profile {
            Ok(portable)
        } else {
            Err(refuse(format!("it would be replayed as \"{back}\"")))
        }
    }

    /// The profile again.
    ///
    /// # Errors
    /// When the SPEC is not one: the log was written by a program that knew other keys.
    pub fn profile(&self) -> Result<LinkProfile, String> {
        let mut profile: LinkProfile = self.spec.parse().map_err(|error| format!("{error}"))?;
        self.attached.iter().for_each(|attachment| attachment.attach(&mut profile));
        Ok(profile)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.spec.as_bytes());
        put(out, self.attached.len() as u64);
        self.attached.iter().for_each(|attachment| attachment.encode(out));
    }

    pub(super) fn decode(from: &mut Cursor<'_>) -> Option<Self> {
        let spec = from.text()?;
        let count = from.number()?;
        // One for each place at most.
        let attached = (0..count.min(PLACES)).map(|_| Attachment::decode(from)).collect::<Option<_>>()?;
        (count <= PLACES).then_some(Self { spec, attached })
    }
}

/// Loss, rate, delay.
const PLACES: u64 = 3;

/// Takes what came from files out of a profile.
fn detach(profile: &mut LinkProfile) -> Vec<Attachment> {
    let mut attached = Vec::new();
    if let LossModel::Trace(losses) = &profile.loss {
        attached.push(Attachment::Loss(Arc::clone(losses)));
        profile.loss = LossModel::None;
    }
    if let Some(RateModel::Trace(trace)) = &profile.rate {
        attached.push(Attachment::Rate(Arc::clone(trace)));
        profile.rate = PLACEHOLDER_RATE;
    }
    match &profile.delay {
        DelayModel::Table { base, jitter, table } => {
            attached.push(Attachment::DelayTable(Arc::clone(table)));
            profile.delay = DelayModel::Normal { base: *base, jitter: *jitter };
        }
        DelayModel::Trace(trace) => {
            attached.push(Attachment::DelayTrace(Arc::clone(trace)));
            profile.delay = DelayModel::default();
        }
        _ => {}
    }
    attached
}

/// Stands where a trace was, so that keys which need a rate keep their sense.
const PLACEHOLDER_RATE: Option<RateModel> = match Bitrate::from_bits_per_second(1_000_000) {
    Some(rate) => Some(RateModel::Constant { rate, overhead: Overhead { per_packet: 0, cell: None } }),
    None => None,
};

impl Attachment {
    fn attach(&self, profile: &mut LinkProfile) {
        match self {
            Self::Loss(losses) => profile.loss = LossModel::Trace(Arc::clone(losses)),
            Self::Rate(trace) => profile.rate = Some(RateModel::Trace(Arc::clone(trace))),
            Self::DelayTrace(trace) => profile.delay = DelayModel::Trace(Arc::clone(trace)),
            Self::DelayTable(table) => {
                if let DelayModel::Normal { base, jitter } = profile.delay {
                    profile.delay = DelayModel::Table { base, jitter, table: Arc::clone(table) };
                }
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Loss(trace) => {
                out.push(0);
                put_bytes(out, trace.name.as_bytes());
                put(out, trace.losses.len() as u64);
                out.extend(trace.losses.chunks(8).map(|eight| {
                    eight.iter().enumerate().fold(0, |byte, (bit, &lost)| byte | u8::from(lost) << bit)
                }));
            }
            Self::Rate(trace) => {
                out.push(1);
                put_bytes(out, trace.name.as_bytes());
                put_list(out, trace.opportunities_ms.iter().copied());
            }
            Self::DelayTable(table) => {
                out.push(2);
                put_bytes(out, table.name.as_bytes());
                put_list(out, table.quantiles.iter().map(|&entry| i64::from(entry).cast_unsigned()));
            }
            Self::DelayTrace(trace) => {
                out.push(3);
                put_bytes(out, trace.name.as_bytes());
                put_list(out, trace.steps.iter().map(|(at, _)| nanos(*at)));
                put_list(out, trace.steps.iter().map(|(_, delay)| nanos(*delay)));
            }
        }
    }

    fn decode(from: &mut Cursor<'_>) -> Option<Self> {
        match from.byte()? {
            0 => {
                let name = from.text()?;
                let count = usize::try_from(from.number()?).ok()?;
                let packed = from.take(count.div_ceil(8))?;
                let losses = (0..count).map(|n| packed[n / 8] >> (n % 8) & 1 == 1).collect();
                Some(Self::Loss(Arc::new(LossTrace { name, losses })))
            }
            1 => {
                let name = from.text()?;
                Some(Self::Rate(Arc::new(DeliveryTrace { name, opportunities_ms: list(from)? })))
            }
            2 => {
                let name = from.text()?;
                let entries = list(from)?.into_iter();
                let quantiles = entries.map(|entry| i32::try_from(entry.cast_signed()).ok());
                Some(Self::DelayTable(Arc::new(DelayTable {
                    name,
                    quantiles: quantiles.collect::<Option<_>>()?,
                })))
            }
            3 => {
                let name = from.text()?;
                let (times, delays) = (list(from)?, list(from)?);
                let spans = |list: Vec<u64>| list.into_iter().map(Duration::from_nanos);
                let steps =
                    (times.len() == delays.len()).then(|| spans(times).zip(spans(delays)).collect())?;
                Some(Self::DelayTrace(Arc::new(DelayTrace { name, steps })))
            }
            _ => None,
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Differences, since most lists ascend.
fn put_list(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64>) {
    put(out, values.len() as u64);
    let mut before = 0;
    for value in values {
        put_difference(out, before, value);
        before = value;
    }
}

fn list(from: &mut Cursor<'_>) -> Option<Vec<u64>> {
    let count = usize::try_from(from.number()?).ok()?;
    // An entry takes a byte at least, so an impossible count reserves nothing.
    if count > from.len() {
        return None;
    }
    let mut before = 0;
    (0..count)
        .map(|_| {
            before = from.difference(before)?;
            Some(before)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn through_bytes(profile: &LinkProfile) -> LinkProfile {
        let portable = Portable::new(profile).expect("portable");
        let mut bytes = Vec::new();
        portable.encode(&mut bytes);
        let mut cursor = Cursor::new(&bytes);
        let back = Portable::decode(&mut cursor).expect("decodes");
        assert!(cursor.is_empty());
        back.profile().expect("a profile")
    }

    #[test]
    fn traces_and_tables_travel_with_the_log() {
        let name = "somewhere/else".to_owned();
        let base: LinkProfile = "delay=50ms duplicate=1%".parse().expect("valid");
        let losses = LossTrace { name: name.clone(), losses: (0..19).map(|n| n % 3 == 0).collect() };
        let table = DelayTable { name: name.clone(), quantiles: vec![-8192, -100, 0, 70, 32_767] };
        let trace = DelayTrace { name: name.clone(), steps: vec![(Duration::ZERO, MS), (9 * MS, 5 * MS)] };
        let rate = DeliveryTrace { name, opportunities_ms: vec![0, 1, 1, 5, 12] };
        for profile in [
            LinkProfile { loss: LossModel::Trace(Arc::new(losses)), ..base.clone() },
            LinkProfile { rate: Some(RateModel::Trace(Arc::new(rate))), ..base.clone() },
            LinkProfile {
                delay: DelayModel::Table { base: 50 * MS, jitter: 5 * MS, table: Arc::new(table) },
                ..base.clone()
            },
            LinkProfile { delay: DelayModel::Trace(Arc::new(trace)), ..base.clone() },
            base,
        ] {
            assert_eq!(through_bytes(&profile), profile);
        }
    }

    #[test]
    fn what_a_spec_cannot_say_is_refused_and_not_forgotten() {
        // Whole nanoseconds are what a SPEC can say; a delay cannot be recorded finer than it can be configured, but
        // a profile made by hand may contradict itself, and then its text is refused.
        let profile =
            LinkProfile { delay: DelayModel::Uniform { base: MS, jitter: 2 * MS }, ..LinkProfile::default() };
        let error = Portable::new(&profile).expect_err("more jitter than delay");
        assert!(error.to_string().contains("cannot be recorded exactly"), "{error}");
    }
}
