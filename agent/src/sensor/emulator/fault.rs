//! Faults that a plan injects into the emulated chip and its bus.

use tinywatt_proto::time::MonoNs;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The chip does not acknowledge its address this many times.
    NotAcknowledged {
        /// Transactions refused.
        count: u32,
    },
    /// Something holds the bus low: every transaction times out until this instant.
    StuckBus {
        /// End of the fault.
        until: MonoNs,
    },
    /// The next register that is read arrives with these bits inverted.
    FlippedBits {
        /// Bits to invert.
        mask: u16,
    },
    /// The supply dips: all registers are as after power-on.
    BrownOut,
    /// The chip is unplugged until this instant and comes back as after power-on.
    Unplugged {
        /// End of the fault.
        until: MonoNs,
    },
}

/// Faults and their instants, in ascending order.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    faults: Vec<(MonoNs, Fault)>,
    next: usize,
}

impl FaultPlan {
    /// Orders a plan.
    pub fn new(mut faults: Vec<(MonoNs, Fault)>) -> Self {
        faults.sort_by_key(|(at, _)| *at);
        Self { faults, next: 0 }
    }

    /// Takes the next fault that is due.
    pub(crate) fn due(&mut self, now: MonoNs) -> Option<Fault> {
        let (at, fault) = *self.faults.get(self.next)?;
        if at > now {
            return None;
        }
        self.next += 1;
        Some(fault)
    }
}
