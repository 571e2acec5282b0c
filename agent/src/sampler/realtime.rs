//! Asks the kernel to run the calling thread on time.

/// What the kernel granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// SCHED_FIFO: the thread runs before every ordinary one.
    RealTime,
    /// Ordinary: the thread may be late, which is counted. Real time needs CAP_SYS_NICE or an rtprio limit.
    Ordinary,
}

/// Low among real-time threads: above everything ordinary, below the kernel's interrupt threads (50), one of which
/// serves the I2C bus.
const PRIORITY: libc::c_int = 10;

/// Asks for real-time scheduling, and for timers without slack, on the calling thread.
pub(super) fn request() -> Scheduling {
    // An ordinary thread's timers fire up to 50 µs late on purpose, to save power; 1 ns is the smallest slack. A
    // refusal leaves things as they are.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    // All fields zero but the priority: some systems' libc have more.
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // Children must not inherit it: a metered command would change its scheduling by being metered.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    #[expect(unsafe_code, reason = "no safe wrapper exists; 0 is the calling thread and the pointer outlives the call")]
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Scheduling::RealTime } else { Scheduling::Ordinary }
}
