//! Quantities. Codes and configured numbers become one of these at the edge; after that no bare `f64` has a unit.
//!
//! Only the physics in use is implemented. Joules come from watts in one place alone, the crate `tinywatt-energy`,
//! so no operator here makes them.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Makes a quantity from a number of ", $symbol, ".")]
            pub const fn new(value: f64) -> Self {
                Self(value)
            }

            #[doc = concat!("The number of ", $symbol, ".")]
            pub const fn get(self) -> f64 {
                self.0
            }

            /// The magnitude without its sign.
            pub fn abs(self) -> Self {
                Self(self.0.abs())
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }

        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }

        /// The ratio of two like quantities is a plain number.
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self(0.0), Add::add)
            }
        }

        /// Prints with three significant digits after an SI prefix: `4.72 W`, `310 µJ`. A precision overrides the digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_si(f, self.0, $symbol)
            }
        }
    };
}

quantity!(
    /// Electric potential difference.
    Volts, "V"
);
quantity!(
    /// Electric current.
    Amperes, "A"
);
quantity!(
    /// Electric resistance.
    Ohms, "Ω"
);
quantity!(
    /// Power.
    Watts, "W"
);
quantity!(
    /// Energy.
    Joules, "J"
);

impl Mul<Amperes> for Volts {
    type Output = Watts;
    fn mul(self, current: Amperes) -> Watts {
        Watts(self.0 * current.0)
    }
}

impl Div<Ohms> for Volts {
    type Output = Amperes;
    fn div(self, resistance: Ohms) -> Amperes {
        Amperes(self.0 / resistance.0)
    }
}

/// Writes `value` with an SI prefix from pico to giga.
fn write_si(f: &mut fmt::Formatter<'_>, value: f64, symbol: &str) -> fmt::Result {
    const PREFIXES: [(f64, &str); 8] =
        [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")];
    if value == 0.0 || !value.is_finite() {
        return write!(f, "{value} {symbol}");
    }
    let digits = f.precision().unwrap_or(3);
    // A magnitude that rounds up to 1000 belongs to the next prefix.
    let rounded_up = 0.5 * 10f64.powi(1 - i32::try_from(digits).unwrap_or(3));
    let (scale, prefix) =
        PREFIXES.into_iter().find(|(scale, _)| value.abs() / scale >= 1.0 - rounded_up / 10.0).unwrap_or((1e-12, "p"));
    let scaled = value / scale;
    let whole_digits = if scaled.abs() >= 100.0 {
        3
    } else if scaled.abs() >= 10.0 {
        2
    } else {
        1
    };
    write!(f, "{scaled:.*} {prefix}{symbol}", digits.saturating_sub(whole_digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ohms_law_and_power() {
        let current = Volts::new(20e-3) / Ohms::new(2e-3);
        assert_eq!(current, Amperes::new(10.0));
        assert!(((Volts::new(11.98) * current).get() - 119.8).abs() < 1e-12);
    }

    #[test]
    fn quantities_print_with_a_prefix() {
        for (value, text) in [
            (4.716, "4.72 W"),
            (0.31, "310 mW"),
            (12.34e-6, "12.3 µW"),
            (0.9999, "1.00 W"),
            (999.4e-3, "999 mW"),
            (0.0, "0 W"),
            (-2.5e3, "-2.50 kW"),
        ] {
            assert_eq!(Watts::new(value).to_string(), text);
        }
        assert_eq!(format!("{:.5}", Joules::new(1430.6681e-6)), "1430.7 µJ".replace("1430.7 µ", "1.4307 m"));
    }
}
