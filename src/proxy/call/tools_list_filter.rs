//! Filters the response to `tools/list` for a client that sees only its own tools: buffers it whole, within a bound, and
//! edits it.
//!
//! A response that cannot be edited without doubt is not relayed. Must not know which tools are a client's.

use crate::http1::BodyLength;
use crate::policy::call::VisibleTools;
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::backend::response_body::ResponseBody;
use crate::proxy::backend::response_head::ResponseHead;
use crate::wire::response_scan::Format;
use crate::wire::tools_list;
use crate::wire::tools_list::{EventFilter, Filtered};

/// A longer list is refused rather than passed on unread.
const LIST_BYTES_MAX: usize = 4 << 20;

/// Removes the tools that the client may not see.
pub(crate) async fn filter_tools_list(
    view: VisibleTools<'_>,
    body: &mut ResponseBody,
    head: &ResponseHead,
) -> Result<(), ExchangeError> {
    if head.body == BodyLength::None {
        return Ok(());
    }
    let shows = |tool: &str| view.contains(tool);
    let filtered = match head.format {
        Format::Json => {
            body.buffer(LIST_BYTES_MAX).await?;
            // The check of the response judges an empty body.
            if body.data.is_empty() {
                Ok(Filtered::default())
            } else {
                tools_list::filter_message(&body.data, &shows)
            }
        }
        Format::EventStream => {
            let (mut filter, mut fed) = (EventFilter::default(), Ok(()));
            // Some servers keep a stream open behind the response, and nothing that matters follows.
            let has_response = |data: &[u8]| {
                fed = filter.feed(data, &shows);
                fed.is_err() || filter.is_response()
            };
            body.buffer_until(LIST_BYTES_MAX, has_response).await?;
            fed.and_then(|()| {
                filter.feed(&body.data, &shows)?;
                filter.finish(&body.data, &shows)
            })
        }
        Format::Opaque if head.status >= 300 => return Ok(()),
        Format::Opaque => {
            body.buffer(LIST_BYTES_MAX).await?;
            let nothing = body.data.is_empty();
            return if nothing { Ok(()) } else { Err(ExchangeError::Unreadable) };
        }
    };
    let filtered = filtered.map_err(|_doubt| ExchangeError::Unreadable)?;
    body.end_with(filtered.bytes);
    Ok(())
}
