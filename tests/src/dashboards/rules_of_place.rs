//! Rules of numbers and places.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Dashboard, list, words};

/// Columns of Grafana's grid.
const WIDTH: u64 = 24;

/// Ids of panels, and the letters of queries in each, are there once.
pub(super) fn ids(dashboard: &Dashboard, found: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard.json["panels"]) {
        match panel["id"].as_u64() {
            Some(id) if id > 0 && ids.insert(id) => {}
            _ => found.push(format!("panel \"{}\": id {} is not its own", words(&panel["title"]), panel["id"])),
        }
        let mut letters = BTreeSet::new();
        for target in list(&panel["targets"]) {
            let letter = words(&target["refId"]);
            if letter.is_empty() || !letters.insert(letter) {
                found.push(format!("panel \"{}\": refId \"{letter}\" is not its query's own", words(&panel["title"])));
            }
        }
    }
}

/// Panels lie inside the grid, and none on another.
pub(super) fn grid(dashboard: &Dashboard, found: &mut Vec<String>) {
    let panels: Vec<&Value> = list(&dashboard.json["panels"]).collect();
    for (index, panel) in panels.iter().enumerate() {
        let title = words(&panel["title"]);
        let Some([x, y, width, height]) = place(panel) else {
            found.push(format!("panel \"{title}\": it has no place"));
            continue;
        };
        if width == 0 || height == 0 || x + width > WIDTH {
            found.push(format!("panel \"{title}\": it lies outside the grid"));
        }
        for other in &panels[..index] {
            let Some([other_x, other_y, other_width, other_height]) = place(other) else { continue };
            let is_beside = x + width <= other_x || other_x + other_width <= x;
            let is_below = y + height <= other_y || other_y + other_height <= y;
            if !is_beside && !is_below {
                found.push(format!("panel \"{title}\": it lies on \"{}\"", words(&other["title"])));
            }
        }
    }
}

fn place(panel: &Value) -> Option<[u64; 4]> {
    let read = |side: &str| panel["gridPos"][side].as_u64();
    Some([read("x")?, read("y")?, read("w")?, read("h")?])
}
