//! Delivery traces of mahimahi.
//!
//! One whole number a line, in milliseconds, never falling: at each, 1504 bytes may leave. The last one is also the
//! period, after which the trace begins again; it must be above zero. `mm-link UP DOWN` takes one for each direction.
//! [`DeliveryTrace::parse`] reads them.

use crate::profile::DeliveryTrace;

/// The SPEC of a direction of `mm-link` with this trace; its queue is unlimited unless told otherwise.
#[must_use]
pub fn spec(trace: &DeliveryTrace) -> String {
    format!("rate=trace({}) queue=infinite", trace.name)
}

/// What it gives in the mean, for people.
#[must_use]
pub fn describe(trace: &DeliveryTrace) -> String {
    let period = trace.opportunities_ms.last().copied().unwrap_or_default();
    let megabits = trace.bitrate().map_or(0.0, |rate| rate.bits_per_second() as f64 / 1e6);
    format!(
        "{}: {} opportunities of {} bytes in {:.3} s, {megabits:.3} Mbit/s in the mean",
        trace.name,
        trace.opportunities_ms.len(),
        DeliveryTrace::OPPORTUNITY.as_u64(),
        period as f64 / 1e3
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_trace_has_its_mean_rate() {
        let trace = DeliveryTrace::parse("x.up", "0\n1\n1\n2\n").expect("a trace");
        assert_eq!(spec(&trace), "rate=trace(x.up) queue=infinite");
        // 4 x 1504 x 8 bits in 2 ms.
        assert_eq!(
            describe(&trace),
            "x.up: 4 opportunities of 1504 bytes in 0.002 s, 24.064 Mbit/s in the mean"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9\n\r .-]{0,60}") {
            if let Ok(trace) = DeliveryTrace::parse("x", &text) {
                let _ = describe(&trace);
            }
        }
    }
}
