//! What one channel saw of an attempt; and several channels as one.

use std::time::Duration;

use tinywatt_energy::{Energy, Series};
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;

use super::window::{self, Measured, Source};
use super::{Expected, Kind, bounds, reason, sum, uncertain, validity};
use crate::result::{InvalidReason, Uncertain, WindowResult};
use crate::store::ReadError;

/// What one channel saw.
#[derive(Debug)]
pub(super) struct Rail {
    pub(super) kind: Kind,
    /// As the agent announced it.
    pub(super) channel: v1::Channel,
    pub(super) sample_rate_hz: f64,
    /// Idle and active windows, in the order of the outcome; all of them when the rail is whole.
    pub(super) windows: Vec<Measured>,
    /// Parts of a job's window, in the order of the outcome: their energy, or why they have none.
    pub(super) parts: Vec<Result<Energy, InvalidReason>>,
    /// Whether every window has an energy.
    pub(super) is_whole: bool,
    /// Why nothing above idle can be told; only of jobs, whose totals count all the same.
    pub(super) above_idle_refusal: Option<String>,
    /// Why what this channel saw does not count.
    pub(super) reasons: Vec<InvalidReason>,
}

/// Integrates all windows of an attempt on one channel, and judges them. The inner error is the reason why the attempt
/// does not count, when the channel cannot be read at all.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn look(
    expected: Expected,
    completed: &v1::Completed,
    source: &Source<'_>,
) -> Result<Result<Rail, InvalidReason>, ReadError> {
    let instant = Window::new(MonoNs(0), MonoNs(1)).expect("ascending");
    let channel = source.read(instant).await?.channel;
    let Some(kind) = Kind::of(&channel) else {
        return Ok(Err(reason("unreadable", "the channel states no kind")));
    };
    if Series::from_readings(&channel, &[]).is_none() {
        return Ok(Err(reason("unreadable", "the channel states no scale")));
    }
    let (mut seen, mut windows, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for (wire, phase) in completed.windows.iter().filter_map(|wire| Some((wire, window::phase(wire)?))) {
        let window = match window::bounds_of(wire) {
            Ok(window) => window,
            Err(why) => {
                reasons.push(why);
                continue;
            }
        };
        let (own, energy) = window::look(source, &channel, window, phase).await?;
        match energy {
            Ok(energy) => windows.push(window::measured(wire, &own, energy)),
            Err(message) => reasons.push(reason("samples_missing", message)),
        }
        seen.push(own);
    }
    let is_whole = reasons.is_empty();
    reasons.extend(validity::reasons(&seen, &windows, &channel));
    let mut above_idle_refusal = None;
    let vague = validity::idle_edges(&windows);
    if expected.is_job() {
        above_idle_refusal = vague.into_iter().next().map(|reason| reason.message);
    } else {
        reasons.extend(vague);
    }
    match validity::idle_drift(&windows) {
        Some(drift) if expected.is_job() => above_idle_refusal = Some(drift),
        Some(drift) => reasons.push(reason("idle_drift", format!("{drift}: let the device settle longer"))),
        None => {}
    }
    let active = windows.iter().find(|window| window.is_active()).map(|window| window.energy.window);
    let mut parts = Vec::new();
    if let Expected::Job(job) = expected {
        let whole = active.and_then(|whole| too_short(&channel, whole.duration(), "the job's window"));
        reasons.extend(whole.map(|message| {
            reason("window_too_short", format!("{message}: give it more to do, or the channel a shorter period"))
        }));
        // Nobody asks what building an untrained module takes, so that its joules may be rough.
        reasons.retain(|reason| job != v1::JobKind::Build || reason.code != "window_too_short");
        for (wire, phase) in completed.windows.iter().filter_map(|wire| Some((wire, window::part(wire)?))) {
            parts.push(look_at_part(source, &channel, active, wire, phase).await?);
        }
    }
    Ok(Ok(Rail {
        kind,
        sample_rate_hz: 1e9 / window::whole(channel.sample_period_ns.max(1)),
        channel,
        windows,
        parts,
        is_whole,
        above_idle_refusal,
        reasons,
    }))
}

/// Energy of a part of a job's window, or why it has none.
async fn look_at_part(
    source: &Source<'_>,
    channel: &v1::Channel,
    active: Option<Window>,
    wire: &v1::Window,
    phase: &'static str,
) -> Result<Result<Energy, InvalidReason>, ReadError> {
    let window = match window::bounds_of(wire) {
        Ok(window) => window,
        Err(why) => return Ok(Err(why)),
    };
    if active.is_none_or(|whole| window.start() < whole.start() || whole.end() < window.end()) {
        return Ok(Err(reason("outside", "it lies outside of the job's window")));
    }
    if let Some(short) = too_short(channel, window.duration(), "it") {
        return Ok(Err(reason("window_too_short", short)));
    }
    let (_, energy) = window::look(source, channel, window, phase).await?;
    let energy = energy.map_err(|message| reason("samples_missing", message));
    Ok(energy.and_then(|energy| match validity::edge_part(&energy).filter(|part| *part > bounds::EDGE_PART_MAX) {
        None => Ok(energy),
        Some(part) => {
            let (percent, bound) = (part * 100.0, bounds::EDGE_PART_MAX * 100.0);
            Err(reason("edges", format!("its edges stand for {percent:.1} % of its energy (bound {bound} %)")))
        }
    }))
}

/// Says that a window is too short for its energy to be known by the channel.
fn too_short(channel: &v1::Channel, length: Duration, what: &str) -> Option<String> {
    let min = bounds::window_min(channel);
    (length < min).then(|| {
        format!(
            "{what} takes {:.3} s, and channel '{}', with a new value every {:.3} s, needs {:.3} s",
            length.as_secs_f64(),
            channel.name,
            bounds::sample_period(channel).as_secs_f64(),
            min.as_secs_f64()
        )
    })
}

/// A window's figures on all rails together.
pub(super) fn added(rails: &[Rail], index: usize) -> WindowResult {
    let rows = || rails.iter().map(|rail| &rail.windows[index].row);
    WindowResult {
        sample_count: rows().map(|row| row.sample_count).sum(),
        lost_reading_count: rows().map(|row| row.lost_reading_count).sum(),
        energy_joules: sum(rows().map(|row| row.energy_joules)),
        power_watts_mean: rows().map(|row| row.power_watts_mean).sum(),
        ..rails[0].windows[index].row.clone()
    }
}

/// Why nothing above idle can be told of a job, on every rail that refuses it.
pub(super) fn above_idle_refusal(rails: &[Rail]) -> Option<String> {
    let refused: Vec<String> = rails
        .iter()
        .filter_map(|rail| {
            let refusal = rail.above_idle_refusal.as_ref()?;
            Some(if rails.len() > 1 { format!("channel '{}': {refusal}", rail.channel.name) } else { refusal.clone() })
        })
        .collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}

/// Energy of a window above idle, on all rails together; `None` without idle windows, and when it is refused.
pub(super) fn above_idle(rails: &[Rail], index: usize) -> Option<Uncertain> {
    above(rails, |rail| Some(rail.windows[index].energy))
}

/// Energy of a job's part above idle, on all rails together.
pub(super) fn part_above_idle(rails: &[Rail], part: usize) -> Option<Uncertain> {
    above(rails, |rail| rail.parts[part].as_ref().ok().copied())
}

fn above(rails: &[Rail], energy: impl Fn(&Rail) -> Option<Energy>) -> Option<Uncertain> {
    let of = |rail: &Rail| {
        if rail.above_idle_refusal.is_some() {
            return None;
        }
        let idle: Vec<Energy> =
            rail.windows.iter().filter(|window| !window.is_active()).map(|window| window.energy).collect();
        let above = tinywatt_energy::above_idle(&energy(rail)?, &idle)?;
        Some(uncertain(above.joules, above.uncertainty))
    };
    rails.iter().map(of).collect::<Option<Vec<_>>>().map(sum)
}

/// Energy of a job's part on all rails together.
///
/// # Errors
/// Why it has none, on every rail that refuses it; the code is that of the first.
pub(super) fn part(rails: &[Rail], part: usize) -> Result<Uncertain, InvalidReason> {
    let refused: Vec<&InvalidReason> = rails.iter().filter_map(|rail| rail.parts[part].as_ref().err()).collect();
    if let Some(first) = refused.first() {
        let messages: Vec<&str> = refused.iter().map(|why| why.message.as_str()).collect();
        return Err(reason(&first.code, messages.join("; ")));
    }
    let energies = rails.iter().filter_map(|rail| rail.parts[part].as_ref().ok());
    Ok(sum(energies.map(|energy| uncertain(energy.joules, energy.uncertainty))))
}
