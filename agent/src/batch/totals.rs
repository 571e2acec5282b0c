//! What a channel's readings add up to, for the mean power that people see while a job runs, and how many were lost. No
//! figure of a report.

use tinywatt_proto::sample::{Flags, Reading, ShuntBusScale, joules_per_code};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1::{self, channel::Scale};

/// Sums of codes since the channel was opened. Whole numbers: two additions and a product a reading, and exact for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Instant of the last reading.
    pub at: MonoNs,
    /// Readings.
    pub reading_count: u64,
    /// Readings lost, whatever the reason.
    pub lost_reading_count: u64,
    /// Sum of the first codes.
    first: i128,
    /// Sum of the products of both codes.
    product: i128,
    /// First code of the last reading.
    last: i64,
}

impl Totals {
    /// Adds a reading.
    pub fn add(&mut self, reading: &Reading) {
        self.at = reading.at;
        self.reading_count += 1;
        self.first += i128::from(reading.first);
        self.product += i128::from(reading.first) * i128::from(reading.second);
        self.last = reading.first;
    }

    /// Adds readings that are lost.
    pub fn lose(&mut self, count: u64) {
        self.lost_reading_count = self.lost_reading_count.saturating_add(count);
    }

    /// Mean power since `earlier`, W: over the readings that there are, wherever some are missing. `None` without any.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn power_watts_since(&self, earlier: &Self, channel: &v1::Channel) -> Option<f64> {
        let reading_count = self.reading_count.checked_sub(earlier.reading_count).filter(|count| *count > 0)? as f64;
        let watts = match channel.scale.as_ref()? {
            Scale::ShuntBus(scale) => {
                // Power is proportional to the product of the codes.
                let unit = Reading { at: self.at, first: 1, second: 1, flags: Flags::NONE };
                let power = ShuntBusScale::from(scale).sample(&unit).power;
                power.get() * ((self.product - earlier.product) as f64) / reading_count
            }
            Scale::Energy(scale) => {
                let joules = joules_per_code(scale).get() * (self.first - earlier.first) as f64;
                joules / (reading_count * channel.sample_period_ns as f64 / 1e9)
            }
            Scale::Counter(scale) => {
                let seconds = self.at.since(earlier.at).as_secs_f64();
                // It falls where it began anew, and nobody knows what was used since `earlier`.
                let is_known = |codes: &i64| earlier.reading_count > 0 && *codes >= 0;
                let codes = self.last.checked_sub(earlier.last).filter(is_known)?;
                codes as f64 * scale.picojoules_per_code as f64 * 1e-12 / seconds
            }
        };
        watts.is_finite().then_some(watts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(codes: &[(i64, i64)]) -> Totals {
        let mut totals = Totals::default();
        for (index, (first, second)) in (1u64..).zip(codes) {
            let at = MonoNs(index * 500_000_000);
            totals.add(&Reading { at, first: *first, second: *second, flags: Flags::NONE });
        }
        totals
    }

    fn channel(scale: Scale) -> v1::Channel {
        v1::Channel { sample_period_ns: 500_000_000, scale: Some(scale), ..v1::Channel::default() }
    }

    #[test]
    fn the_mean_is_that_of_the_readings_since() {
        let codes = [(9_000, 1_250), (4_000, 1_250), (2_000, 1_250)];
        let (all, first) = (totals(&codes), totals(&codes[..1]));
        let shunt = channel(Scale::ShuntBus(v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: 100_000_000,
            ..v1::ShuntBusScale::default()
        }));
        // 40 and 20 mV over 0.1 ohm at 5 V.
        let watts = all.power_watts_since(&first, &shunt).expect("two readings");
        assert!((watts - 1.5).abs() < 1e-9, "{watts}");
        assert_eq!(first.power_watts_since(&first, &shunt), None);

        let energy = channel(Scale::Energy(v1::EnergyScale { picojoules_per_code: 1_000_000_000, gain_ppm: None }));
        let watts = all.power_watts_since(&first, &energy).expect("two readings");
        assert!((watts - 6.0).abs() < 1e-9, "6,000 mJ in 1 s: {watts}");
        assert_eq!(all.power_watts_since(&first, &v1::Channel::default()), None);
    }

    #[test]
    fn a_counter_needs_a_reading_before() {
        let counter =
            channel(Scale::Counter(v1::CounterScale { picojoules_per_code: 1_000_000, ..v1::CounterScale::default() }));
        let (all, first) = (totals(&[(1_000_000, 0), (3_000_000, 0)]), totals(&[(1_000_000, 0)]));
        let watts = all.power_watts_since(&first, &counter).expect("a reading before");
        assert!((watts - 4.0).abs() < 1e-9, "2 J in half a second: {watts}");
        assert_eq!(all.power_watts_since(&Totals::default(), &counter), None);
        let anew = totals(&[(1_000_000, 0), (-(1 << 52), 0)]);
        assert_eq!(anew.power_watts_since(&first, &counter), None, "no -9 GW");
    }
}
