//! The one carbon intensity of a run.

use tinywatt_proto::v1;

use super::keys::Keys;
use super::problem::Findings;
use crate::carbon;

/// Why an intensity may stand in `[carbon]` alone, to be read after the name of a key.
const ONE: &str = "cannot stand here: a run has one carbon intensity, in [carbon], because with two of them CO2 would \
                   order the treatments differently from energy; joules are what is stored, `collector report` can be \
                   read with any intensity";

/// The same for a list of them.
const SEVERAL: &str = "is a list: a run has one carbon intensity, because with two of them CO2 would order the treatments \
                       differently from energy; write one [carbon]";

/// Keys by which somebody would state an intensity of a part of the run.
const KEYS: [&str; 5] = ["carbon", "country", "intensity_g_per_kwh", "grid_intensity_g_per_kwh", "pue"];

/// Notes an intensity in a table that describes only a part of the run.
pub(super) fn refuse_second(keys: &mut Keys<'_>, findings: &mut Findings) {
    for key in KEYS {
        keys.refuse(key, ONE, findings);
    }
}

/// Reads `[carbon]` of the file; `None` when absent, or wrong and noted.
pub(super) fn parse(file: &mut Keys<'_>, findings: &mut Findings) -> Option<v1::Carbon> {
    if file.is_list("carbon") {
        file.refuse("carbon", SEVERAL, findings);
        return None;
    }
    table(file.table("carbon", findings)?, findings)
}

fn table(mut keys: Keys<'_>, findings: &mut Findings) -> Option<v1::Carbon> {
    let country = keys.string("country", findings);
    let intensity = keys.number("intensity_g_per_kwh", findings);
    let source = keys.string("source", findings);
    let pue = keys.number("pue", findings);
    let place = keys.place().clone();
    keys.finish(findings);
    if let Some(pue) = &pue
        && pue.value < 1.0
    {
        findings.add(
            &pue.place,
            format_args!(
                "must be at least 1 (all energy of the place per energy of the machine), and is {}",
                pue.value
            ),
        );
    }
    let pue = pue.map_or(1.0, |pue| pue.value);
    match (country, intensity) {
        (Some(country), Some(_)) => {
            findings.add(&country.place, "is there beside intensity_g_per_kwh; leave one of them out");
            None
        }
        (None, None) => {
            findings.add(
                &place,
                "names no intensity; give country = \"DE\", or intensity_g_per_kwh with the source that states it",
            );
            None
        }
        (Some(country), None) => {
            if let Some(source) = &source {
                findings.add(&source.place, "comes with the country; leave it out");
            }
            let Some(found) = carbon::intensity(&country.value) else {
                findings.add(
                    &country.place,
                    format_args!(
                        "'{}' is not in the table of countries (collector/data/grid_intensity.csv); give its two letters \
                         or English name, or intensity_g_per_kwh with its source",
                        country.value
                    ),
                );
                return None;
            };
            Some(v1::Carbon { intensity_g_per_kwh: found.intensity_g_per_kwh, pue, source: found.citation() })
        }
        (None, Some(intensity)) => {
            if intensity.value <= 0.0 {
                findings.add(&intensity.place, format_args!("must be above 0, and is {}", intensity.value));
            }
            let Some(source) = source.filter(|source| !source.value.trim().is_empty()) else {
                findings.add(
                    &intensity.place,
                    "needs source = \"…\" beside it: who states the figure, and for which year; the report prints it",
                );
                return None;
            };
            Some(v1::Carbon { intensity_g_per_kwh: intensity.value, pue, source: source.value })
        }
    }
}
