//! Energy above the idle power around a window.

use tinywatt_proto::units::{Joules, Watts};

use crate::budget::{quadrature, rectangular};
use crate::{Energy, Uncertainty};

/// Energy of a window above idle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AboveIdle {
    /// Energy of the window less the mean idle power times its length.
    pub joules: Joules,
    /// How wrong it may be; `None` when the source of the samples states no error.
    pub uncertainty: Option<Uncertainty>,
    /// Mean power of the idle windows.
    pub idle_power: Watts,
}

/// Subtracts the mean power of the idle windows, times the length of the active window.
///
/// All windows come from one channel, so its errors are the same in each and mostly cancel: what is left of the offset
/// is the change of the bus voltage; gain errors apply to the difference alone. Steps of the converters, edges and
/// scatter do not cancel and add up. Half the difference between the outermost idle windows is the limit of how far
/// the idle power at the time of the active window may lie from the mean.
///
/// `None` when `idle` is empty.
pub fn above_idle(active: &Energy, idle: &[Energy]) -> Option<AboveIdle> {
    let count = f64::from(u32::try_from(idle.len()).ok().filter(|&count| count > 0)?);
    let seconds = active.window.duration().as_secs_f64();
    let powers = idle.iter().map(Energy::power_mean);
    let idle_power = powers.clone().sum::<Watts>() / count;
    let joules = active.joules - Joules::new(idle_power.get() * seconds);

    let lowest = powers.clone().map(Watts::get).fold(f64::INFINITY, f64::min);
    let highest = powers.map(Watts::get).fold(f64::NEG_INFINITY, f64::max);
    let idle_drift = rectangular(Joules::new((highest - lowest) / 2.0 * seconds));

    // Each idle window stands for 1/count of the subtracted energy, stretched to the active window's length.
    let shares: Vec<(&Energy, f64)> =
        idle.iter().map(|energy| (energy, seconds / energy.window.duration().as_secs_f64() / count)).collect();
    let of_idle =
        || shares.iter().map(|(energy, share)| Some((energy.uncertainty?, *share))).collect::<Option<Vec<_>>>();
    let uncertainty = active.uncertainty.zip(of_idle()).and_then(|(of_active, of_idle)| {
        let weighted = |component: fn(&Uncertainty) -> Joules| {
            let idle = of_idle.iter().map(|(uncertainty, share)| component(uncertainty) * *share);
            quadrature(&idle.chain([component(&of_active)]).collect::<Vec<_>>())
        };
        let (offset, gain) = match (active.moments, active.gain_limit) {
            (Some(moments), _) => {
                let volt_seconds = shares.iter().map(|(energy, share)| Some(energy.moments?.volt_seconds * share));
                let volt_seconds = volt_seconds.sum::<Option<f64>>()?;
                let offset = rectangular(moments.offset_limit(moments.volt_seconds - volt_seconds));
                (offset, moments.gain(joules))
            }
            (None, Some(limit)) => (Joules::default(), rectangular(joules * limit)),
            (None, None) => return None,
        };
        Some(Uncertainty {
            offset,
            gain,
            quantisation: weighted(|uncertainty| uncertainty.quantisation),
            edges: weighted(|uncertainty| uncertainty.edges),
            sampling: weighted(|uncertainty| uncertainty.sampling),
            idle_drift,
        })
    });
    Some(AboveIdle { joules, uncertainty, idle_power })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::integrate;
    use crate::integrate::tests::{power_series, window};

    const GAP_MAX: Duration = Duration::from_millis(5);

    fn step(seconds: f64) -> f64 {
        if (1.0..3.0).contains(&seconds) { 5.0 } else { 2.0 }
    }

    #[test]
    fn a_step_above_idle_is_its_height_times_its_length() {
        let series = power_series(step, 4_000);
        let of = |start, end| integrate(&series, window(start, end), GAP_MAX).expect("covered");
        let active = of(1_100_000_000, 2_900_000_000);
        let net =
            above_idle(&active, &[of(0, 900_000_000), of(3_100_000_000, 3_900_000_000)]).expect("two idle windows");
        assert!((net.joules.get() - 3.0 * 1.8).abs() < 1e-9);
        assert!((net.idle_power.get() - 2.0).abs() < 1e-12);
        let uncertainty = net.uncertainty.expect("a shunt states its errors");
        // The offset cancels, since the bus voltage stays; the gain applies to 5.4 J instead of 9 J.
        assert!(uncertainty.offset.get() < 1e-12);
        let whole = active.uncertainty.expect("a shunt states its errors");
        assert!((uncertainty.gain.get() / whole.gain.get() - 0.6).abs() < 1e-9);
        assert!(uncertainty.idle_drift.get() < 1e-12);
    }

    #[test]
    fn idle_windows_that_differ_widen_the_uncertainty() {
        let series = power_series(
            |seconds| {
                if seconds < 1.0 {
                    2.0
                } else if seconds < 3.0 {
                    5.0
                } else {
                    2.4
                }
            },
            4_000,
        );
        let of = |start, end| integrate(&series, window(start, end), GAP_MAX).expect("covered");
        let net =
            above_idle(&of(1_100_000_000, 2_100_000_000), &[of(0, 900_000_000), of(3_100_000_000, 3_900_000_000)])
                .expect("two idle windows");
        let drift = net.uncertainty.expect("a shunt states its errors").idle_drift.get();
        assert!((drift - 0.2 / 3f64.sqrt()).abs() < 1e-9, "half of 0.4 W for 1 s: {drift}");
    }

    #[test]
    fn without_idle_windows_there_is_nothing_above_idle() {
        let series = power_series(step, 4_000);
        let active = integrate(&series, window(1_100_000_000, 2_900_000_000), GAP_MAX).expect("covered");
        assert_eq!(above_idle(&active, &[]), None);
    }
}
