//! Toxics as the API reads and lists them.
//!
//! Reading has three steps, because clients compare which complaint comes first: the document, then stream and type, then
//! (after the registry has looked for the name) the attributes, whose names depend on the type.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use super::error::ApiError;
use super::json::{Field, Value};
use super::name;
use crate::stream::{Direction, Toxic, ToxicKind};

/// A toxic of a proxy, as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ListedToxic {
    pub(super) toxic: Toxic,
    /// The direction as the client wrote it, which is how it is listed: `Upstream` stays `Upstream`.
    stream: String,
}

impl ListedToxic {
    /// One that came from somewhere else than the API.
    pub(super) fn new(toxic: Toxic) -> Self {
        Self { stream: toxic.stream.name().to_owned(), toxic }
    }

    /// What a body with `attributes` and `toxicity` makes of it; what is absent stays.
    pub(super) fn updated(&self, body: &Value) -> Result<Self, ApiError> {
        let mut updated = self.clone();
        for (key, value) in body.members("struct")? {
            match key.to_ascii_lowercase().as_str() {
                "attributes" => set_attributes(&mut updated.toxic.kind, value)?,
                "toxicity" => {
                    Field::new("ToxicUpdate", "toxicity").float(value, &mut updated.toxic.toxicity)?;
                }
                _ => {}
            }
        }
        Ok(updated)
    }
}

/// A toxic whose attributes have not been looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToxicDraft {
    listed: ListedToxic,
    attributes: Vec<Value>,
}

impl ToxicDraft {
    pub(super) fn decode(body: &Value) -> Result<Self, ApiError> {
        const OF: &str = "ToxicWrapper";
        let (mut name, mut kind, mut stream) = (String::new(), String::new(), "downstream".to_owned());
        let mut toxicity = 1.0;
        let mut attributes = Vec::new();
        for (key, value) in body.members("toxics.ToxicWrapper")? {
            match key.to_ascii_lowercase().as_str() {
                "name" => Field::new(OF, "name").text(value, &mut name)?,
                "type" => Field::new(OF, "type").text(value, &mut kind)?,
                "stream" => Field::new(OF, "stream").text(value, &mut stream)?,
                "toxicity" => Field::new(OF, "toxicity").float(value, &mut toxicity)?,
                "attributes" => attributes.push(value.clone()),
                _ => {}
            }
        }
        let direction = direction(&stream).ok_or_else(|| {
            ApiError::bad_request("stream was invalid, can be either upstream or downstream")
        })?;
        let known = ToxicKind::from_name(&kind);
        let known = known.ok_or_else(|| ApiError::bad_request("invalid toxic type"))?;
        if name.is_empty() {
            name = format!("{kind}_{stream}");
        }
        name::check(&name)?;
        let toxic = Toxic { name, stream: direction, toxicity, kind: known };
        Ok(Self { listed: ListedToxic { toxic, stream }, attributes })
    }

    pub(super) fn name(&self) -> &str {
        &self.listed.toxic.name
    }

    pub(super) fn finish(mut self) -> Result<ListedToxic, ApiError> {
        for attributes in &self.attributes {
            set_attributes(&mut self.listed.toxic.kind, attributes)?;
        }
        Ok(self.listed)
    }
}

fn direction(text: &str) -> Option<Direction> {
    Direction::BOTH.into_iter().find(|direction| direction.name().eq_ignore_ascii_case(text))
}

fn set_attributes(kind: &mut ToxicKind, attributes: &Value) -> Result<(), ApiError> {
    let of = struct_name(kind);
    let Value::Object(members) = attributes else {
        return match attributes {
            Value::Null => Ok(()),
            other => Err(Field::new("ToxicWrapper", "attributes").mismatch(other, of).into()),
        };
    };
    for (key, value) in members {
        let known = kind.attributes().into_iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        let Some((name, mut number)) = known else { continue };
        Field::new(of, &format!("attributes.{name}")).integer(value, &mut number)?;
        kind.set_attribute(name, number);
    }
    Ok(())
}

/// The type that the decoder's messages speak of.
fn struct_name(kind: &ToxicKind) -> &'static str {
    match kind {
        ToxicKind::Latency { .. } => "LatencyToxic",
        ToxicKind::Bandwidth { .. } => "BandwidthToxic",
        ToxicKind::SlowClose { .. } => "SlowCloseToxic",
        ToxicKind::Timeout { .. } => "TimeoutToxic",
        ToxicKind::ResetPeer { .. } => "ResetToxic",
        ToxicKind::Slicer { .. } => "SlicerToxic",
        ToxicKind::LimitData { .. } => "LimitDataToxic",
        ToxicKind::Noop => "NoopToxic",
    }
}

impl Serialize for ListedToxic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Toxic", 5)?;
        out.serialize_field("attributes", &Attributes(&self.toxic.kind))?;
        out.serialize_field("name", &self.toxic.name)?;
        out.serialize_field("type", self.toxic.kind.name())?;
        out.serialize_field("stream", &self.stream)?;
        out.serialize_field("toxicity", &number(self.toxic.toxicity))?;
        out.end()
    }
}

struct Attributes<'a>(&'a ToxicKind);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        for (name, value) in self.0.attributes() {
            // Clients compare the attributes as a whole: our own is only listed when it was asked for.
            if name != "shared" || value != 0 {
                out.serialize_entry(name, &value)?;
            }
        }
        out.end()
    }
}

/// `1`, not `1.0`; `0.2`, not what is nearest to it among longer floats.
fn number(toxicity: f32) -> serde_json::Number {
    if toxicity.fract() == 0.0 && toxicity.abs() < 1e6 {
        return serde_json::Number::from(toxicity as i64);
    }
    let shortest = toxicity.to_string().parse().ok().and_then(serde_json::Number::from_f64);
    shortest.unwrap_or_else(|| serde_json::Number::from(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toxic(body: &str) -> Result<ListedToxic, ApiError> {
        ToxicDraft::decode(&Value::parse(body.as_bytes())?)?.finish()
    }

    fn listed(body: &str) -> String {
        serde_json::to_string(&toxic(body).expect("valid")).expect("plain data")
    }

    #[test]
    fn a_toxic_is_listed_with_every_attribute_in_order() {
        assert_eq!(
            listed(r#"{"Name":"n","TYPE":"latency","Attributes":{"Latency":100},"toxicity":0.2,"x":[]}"#),
            r#"{"attributes":{"latency":100,"jitter":0},"name":"n","type":"latency","stream":"downstream","toxicity":0.2}"#
        );
        assert_eq!(
            listed(r#"{"type":"noop","stream":"UpStream","attributes":null}"#),
            r#"{"attributes":{},"name":"noop_UpStream","type":"noop","stream":"UpStream","toxicity":1}"#
        );
    }

    #[test]
    fn our_own_attribute_is_listed_when_it_was_asked_for() {
        assert!(!listed(r#"{"type":"bandwidth","attributes":{"rate":10}}"#).contains("shared"));
        assert!(
            listed(r#"{"type":"bandwidth","attributes":{"rate":10,"shared":1}}"#)
                .starts_with(r#"{"attributes":{"rate":10,"shared":1}"#)
        );
    }

    #[test]
    fn the_first_complaint_is_the_one_clients_expect() {
        for (body, text) in [
            (r#"{"type":"x","stream":""}"#, "stream was invalid, can be either upstream or downstream"),
            (r#"{"type":"x"}"#, "invalid toxic type"),
            (r#"{}"#, "invalid toxic type"),
            (
                r#"{"type":"latency","attributes":{"latency":1.5}}"#,
                "bad request body: json: cannot unmarshal number 1.5 into Go struct field LatencyToxic.attributes.latency of type int64",
            ),
        ] {
            assert_eq!(toxic(body).expect_err("wrong").message, text);
        }
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let before = toxic(r#"{"type":"slicer","attributes":{"average_size":10,"delay":5},"toxicity":0.5}"#);
        let body =
            Value::parse(br#"{"attributes":{"delay":7},"type":"noop","name":"other"}"#).expect("valid");
        let after = before.expect("valid").updated(&body).expect("valid").toxic;
        assert_eq!(after.kind, ToxicKind::Slicer { average_size: 10, size_variation: 0, delay_us: 7 });
        assert_eq!((after.toxicity, after.name.as_str()), (0.5, "slicer_downstream"));
    }
}
