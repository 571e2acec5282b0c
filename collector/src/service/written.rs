//! What is written on to a database: how far it is, and what it refused.

use tinywatt_proto::v1;
use tonic::Status;

use crate::sink::{Doing, Handle};

/// Bytes of lines and reasons in one answer: half of the largest message.
const BYTES_MAX: usize = tinywatt_proto::MESSAGE_BYTES_MAX / 2;

/// How far the database is.
pub(super) fn status(sink: &Handle) -> v1::SinkStatus {
    let meter = sink.meter();
    let (state, reason) = match sink.doing() {
        Doing::Writing => (v1::SinkState::Writing, String::new()),
        Doing::Waiting { reason } => (v1::SinkState::Waiting, reason),
        Doing::Held { reason } => (v1::SinkState::Held, reason),
    };
    v1::SinkStatus {
        target: sink.target().to_owned(),
        state: state.into(),
        reason,
        lag_batch_count: meter.lag_batch_count,
        lag_seconds: meter.lag_seconds,
        line_count: meter.line_count,
        request_count: meter.request_count,
        retry_count: meter.retry_count,
        quarantined_count: meter.quarantined_count,
        expired_count: meter.expired_count,
    }
}

/// The newest lines that it refused, as many as fit a message.
pub(super) async fn quarantined(sink: &Handle, count_max: u32) -> Result<v1::ListQuarantinedResponse, Status> {
    let count_max = if count_max == 0 { u32::MAX } else { count_max };
    let mut bytes = 0;
    let refused = sink.quarantined(count_max).await?;
    let fitting = refused.into_iter().take_while(|refused| {
        bytes += refused.line.len() + refused.reason.len();
        bytes <= BYTES_MAX
    });
    let lines = fitting.map(|refused| v1::QuarantinedLine {
        at_unix_ns: refused.at_unix_ns,
        reason: refused.reason,
        line: refused.line,
        line_count: refused.line_count,
    });
    Ok(v1::ListQuarantinedResponse { lines: lines.collect() })
}
