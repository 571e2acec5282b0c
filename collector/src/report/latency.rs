//! Latencies of all replicates together, from their histograms.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::Serialize;
use tinywatt_proto::hex;

/// Latency of one inference: copying in, invoking, reading out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub seconds_p50: f64,
    /// 95th percentile.
    pub seconds_p95: f64,
    /// 99th percentile.
    pub seconds_p99: f64,
    /// Inferences in the histogram.
    pub inference_count: u64,
}

/// Adds up histograms and reads the percentiles of the sum; `None` when one cannot be read, or all are empty.
///
/// The histograms are HdrHistogram V2 in hexadecimal, unit ns. A percentile of the sum is a percentile of all
/// inferences; a mean of the replicates' percentiles would not be.
pub fn pooled<'a>(histograms: impl IntoIterator<Item = &'a str>) -> Option<Latency> {
    let mut sum: Option<Histogram<u64>> = None;
    for text in histograms {
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut hex::decode(text)?.as_slice()).ok()?;
        match &mut sum {
            None => sum = Some(histogram),
            Some(sum) => {
                sum.auto(true);
                sum.add(&histogram).ok()?;
            }
        }
    }
    let sum = sum.filter(|sum| !sum.is_empty())?;
    let seconds = |quantile| nanoseconds(sum.value_at_quantile(quantile)) / 1e9;
    Some(Latency {
        seconds_p50: seconds(0.50),
        seconds_p95: seconds(0.95),
        seconds_p99: seconds(0.99),
        inference_count: sum.len(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a latency of 2^53 ns would be 104 days")]
fn nanoseconds(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
pub(super) mod tests {
    use hdrhistogram::serialization::{Serializer, V2Serializer};

    use super::*;

    /// Histogram of three significant digits over these latencies, as an agent makes it.
    pub(in crate::report) fn histogram_of(latencies_ns: impl IntoIterator<Item = u64>) -> String {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for latency in latencies_ns {
            histogram.record(latency).unwrap();
        }
        let mut encoded = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut encoded).unwrap();
        hex::encode(&encoded)
    }

    #[test]
    fn percentiles_are_those_of_all_inferences() {
        // 900 fast ones in one replicate, 100 slow ones in the other: the mean of the medians would be 5.5 ms.
        let fast = histogram_of(std::iter::repeat_n(1_000_000, 900));
        let slow = histogram_of(std::iter::repeat_n(10_000_000, 100));
        let latency = pooled([fast.as_str(), slow.as_str()]).unwrap();
        assert_eq!(latency.inference_count, 1_000);
        assert!((latency.seconds_p50 - 1e-3).abs() < 1e-6, "{latency:?}");
        assert!((latency.seconds_p95 - 10e-3).abs() < 10e-6, "{latency:?}");
        assert_eq!(pooled([slow.as_str(), fast.as_str()]), Some(latency), "the order does not matter");
    }

    #[test]
    fn percentiles_of_a_ramp_by_hand() {
        let ramp = histogram_of((1..=100).map(|step| step * 1_000));
        let latency = pooled([ramp.as_str()]).unwrap();
        for (ours, by_hand) in
            [(latency.seconds_p50, 50e-6), (latency.seconds_p95, 95e-6), (latency.seconds_p99, 99e-6)]
        {
            assert!((ours / by_hand - 1.0).abs() < 1e-3, "ours {ours}, by hand {by_hand}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let good = histogram_of([5]);
        let empty = histogram_of([]);
        for bad in ["", "zz", "abc", "00000000", "µµ", &good[..20], empty.as_str()] {
            assert_eq!(pooled([bad]), None, "{bad}");
        }
        assert_eq!(pooled([good.as_str(), "zz"]), None, "a part of the inferences is not all of them");
        assert_eq!(pooled([]), None);
    }
}
