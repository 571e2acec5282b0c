//! Carbon intensity of a country's electricity, shipped with the program, and joules into grams of CO2.
//!
//! What is measured and stored are joules; one stated intensity is applied to all of a run's, when it is reported. So two
//! treatments cannot be ordered one way by energy and another way by CO2.

use std::sync::LazyLock;

use serde::Deserialize;

/// Countries with their source and licence, as the file itself states them.
const TABLE: &str = include_str!("../data/grid_intensity.csv");

/// Joules of a kWh.
const JOULES_PER_KWH: f64 = 3.6e6;

/// What a kWh of a country's electricity emits, over a year.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Intensity {
    /// ISO 3166-1 alpha-2; "EU" and "WORLD" for these.
    pub code: String,
    /// ISO 3166-1 alpha-3.
    pub code3: String,
    /// English name.
    pub name: String,
    /// g CO2-equivalent per kWh.
    pub intensity_g_per_kwh: f64,
    /// Year that the figure is about.
    pub year: u16,
    /// Who states it.
    pub source: String,
}

impl Intensity {
    /// Where the figure comes from, in one line for people.
    pub fn citation(&self) -> String {
        format!("{} {}, {} (CC BY 4.0)", self.name, self.year, self.source)
    }
}

static INTENSITIES: LazyLock<Vec<Intensity>> = LazyLock::new(|| parse(TABLE).expect("a test reads the shipped table"));

/// Every country of the table: the European Union and the world first, then by name.
pub fn intensities() -> &'static [Intensity] {
    &INTENSITIES
}

/// Finds a country by its two or three letters or its English name, in capitals or not.
pub fn intensity(country: &str) -> Option<&'static Intensity> {
    let country = country.trim();
    INTENSITIES.iter().find(|row| {
        [&row.code, &row.code3, &row.name].into_iter().any(|name| name.to_lowercase() == country.to_lowercase())
    })
}

/// Grams of CO2-equivalent for an energy: joules × intensity × PUE / 3.6e6.
///
/// `pue`, power usage effectiveness, is all energy of the place per energy of the machine.
pub fn grams(joules: f64, intensity_g_per_kwh: f64, pue: f64) -> f64 {
    joules * intensity_g_per_kwh * pue / JOULES_PER_KWH
}

fn parse(table: &str) -> Result<Vec<Intensity>, csv::Error> {
    csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(table.as_bytes()).deserialize().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_shipped_table_is_whole() {
        let rows = parse(TABLE).unwrap();
        assert!(rows.len() > 40);
        let mut names = BTreeSet::new();
        for row in &rows {
            assert!(row.intensity_g_per_kwh > 0.0 && row.intensity_g_per_kwh < 1_200.0, "{row:?}");
            assert!((2021..=2030).contains(&row.year), "{row:?}");
            assert!(row.code.len() == 2 || row.code == "WORLD", "{row:?}");
            assert!(row.code3.len() == 3 && !row.name.is_empty() && !row.source.is_empty(), "{row:?}");
            let own: BTreeSet<_> = [&row.code, &row.code3, &row.name].map(|name| name.to_lowercase()).into();
            for name in own {
                assert!(names.insert(name.clone()), "{name} stands twice");
            }
        }
        assert_eq!(rows, intensities());
    }

    #[test]
    fn a_country_is_found_by_code_and_name() {
        let germany = intensity("DE").unwrap();
        assert!((germany.intensity_g_per_kwh - 380.9).abs() < 1e-9 && germany.year == 2023, "{germany:?}");
        for name in ["de", "DEU", " Germany "] {
            assert_eq!(intensity(name), Some(germany), "{name}");
        }
        assert_eq!(intensity("Atlantis"), None);
        assert_eq!(intensity(""), None);
        assert!(intensity("EU").is_some() && intensity("world").is_some());
        assert_eq!(germany.citation(), "Germany 2023, Our World in Data (CC BY 4.0)");
    }

    /// 1 kWh at 380 g and a PUE of 1.5 are 570 g; 7.2 kJ are a 500th of a kWh.
    #[test]
    fn grams_by_hand() {
        assert!((grams(3.6e6, 380.0, 1.5) - 570.0).abs() < 1e-9);
        assert!((grams(7_200.0, 500.0, 1.0) - 1.0).abs() < 1e-12);
        assert!(grams(0.0, 500.0, 1.0).abs() < 1e-12);
    }
}
