//! Energies of windows that follow each other, as the energy of the whole.

use tinywatt_proto::time::Window;
use tinywatt_proto::units::Joules;

use crate::budget::quadrature;
use crate::integrate::Moments;
use crate::{Energy, Uncertainty};

impl Energy {
    /// The energy of this window and the one that begins where it ends, for series too long to be held at once.
    ///
    /// Offset, gain and converter steps are the same mistake in both windows and add up; edges and sampling are
    /// independent and add up in squares. (Edges at the seam cancel in truth, so the sum errs to the safe side.)
    ///
    /// `None` when the windows do not touch, or only one of them states an uncertainty.
    pub fn followed_by(&self, next: &Self) -> Option<Self> {
        if self.window.end() != next.window.start() {
            return None;
        }
        let window = Window::new(self.window.start(), next.window.end()).ok()?;
        let uncertainty = match (self.uncertainty, next.uncertainty) {
            (Some(this), Some(next)) => Some(add(&this, &next)),
            (None, None) => None,
            _ => return None,
        };
        let moments = match (self.moments, next.moments) {
            (Some(this), Some(next)) => Some(Moments {
                volt_seconds: this.volt_seconds + next.volt_seconds,
                coulombs: this.coulombs + next.coulombs,
                ..this
            }),
            _ => None,
        };
        Some(Self {
            joules: self.joules + next.joules,
            uncertainty,
            window,
            sample_count: self.sample_count + next.sample_count,
            moments,
            gain_limit: self.gain_limit,
            edges: self.edges.zip(next.edges).map(|(this, next)| quadrature(&[this, next])),
        })
    }
}

fn add(this: &Uncertainty, next: &Uncertainty) -> Uncertainty {
    let squares = |part: fn(&Uncertainty) -> Joules| quadrature(&[part(this), part(next)]);
    Uncertainty {
        offset: this.offset + next.offset,
        gain: this.gain + next.gain,
        quantisation: this.quantisation + next.quantisation,
        edges: squares(|part| part.edges),
        sampling: squares(|part| part.sampling),
        idle_drift: this.idle_drift + next.idle_drift,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::integrate;
    use crate::integrate::tests::{power_series, window};

    #[test]
    fn two_windows_that_touch_are_one() {
        let series = power_series(|seconds| 2.0 + seconds, 4_000);
        let of = |start, end| integrate(&series, window(start, end), Duration::from_millis(5)).expect("covered");
        let whole = of(500_000_000, 3_500_000_000);
        let joined = of(500_000_000, 1_700_000_000).followed_by(&of(1_700_000_000, 3_500_000_000)).expect("they touch");
        assert_eq!(joined.window, whole.window);
        assert_eq!(joined.sample_count, whole.sample_count);
        assert!((joined.joules - whole.joules).abs().get() < 1e-9);
        let parts = |energy: &crate::Energy| energy.uncertainty.expect("a shunt states its errors");
        assert!((parts(&joined).gain - parts(&whole).gain).abs().get() < 1e-9);
        assert!((parts(&joined).offset - parts(&whole).offset).abs().get() < 1e-9);
        assert!(joined.expanded_uncertainty() >= whole.expanded_uncertainty());
    }

    #[test]
    fn windows_with_a_hole_between_are_not_joined() {
        let series = power_series(|_| 2.0, 4_000);
        let of = |start, end| integrate(&series, window(start, end), Duration::from_millis(5)).expect("covered");
        assert_eq!(of(0, 1_000_000_000).followed_by(&of(1_000_000_001, 2_000_000_000)), None);
    }
}
