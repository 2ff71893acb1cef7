//! The answer to `tools/list` for a client that is shown only its own tools: waited for whole, within a bound, and filtered.
//!
//! What cannot be filtered without doubt is not passed on. Must not know which tools are a client's.

use crate::http1::BodyLength;
use crate::policy::call::VisibleTools;
use crate::proxy::backend::response_body::{Cut, Source};
use crate::proxy::backend::response_head::AnswerHead;
use crate::proxy::downstream::stream::Downstream;
use crate::wire::response_scan::Format;
use crate::wire::tools_list;
use crate::wire::tools_list::{EventFilter, Filtered};

/// A longer list is refused rather than passed on unread.
const LIST_BYTES_MAX: usize = 4 << 20;

/// Leaves out of the answer what the client may not see.
pub(crate) async fn show_only(
    view: VisibleTools<'_>,
    source: &mut Source,
    head: &AnswerHead,
    client: &mut Downstream,
) -> Result<(), Cut> {
    if head.body == BodyLength::None {
        return Ok(());
    }
    let shows = |tool: &str| view.contains(tool);
    let filtered = match head.format {
        Format::Json => {
            source.collect(client, LIST_BYTES_MAX).await?;
            // No answer at all is not ours to judge.
            if source.data.is_empty() {
                Ok(Filtered::default())
            } else {
                tools_list::filter_message(&source.data, &shows)
            }
        }
        Format::EventStream => {
            let (mut filter, mut fed) = (EventFilter::default(), Ok(()));
            // Some servers keep a stream open after they have answered, and nothing that matters follows.
            let answered = |data: &[u8]| {
                fed = filter.feed(data, &shows);
                fed.is_err() || filter.is_response()
            };
            source.collect_until(client, LIST_BYTES_MAX, answered).await?;
            fed.and_then(|()| {
                filter.feed(&source.data, &shows)?;
                filter.finish(&source.data, &shows)
            })
        }
        Format::Opaque if head.status >= 300 => return Ok(()),
        Format::Opaque => {
            source.collect(client, LIST_BYTES_MAX).await?;
            let nothing = source.data.is_empty();
            return if nothing { Ok(()) } else { Err(Cut::Unreadable) };
        }
    };
    let filtered = filtered.map_err(|_doubt| Cut::Unreadable)?;
    source.end_with(filtered.bytes);
    Ok(())
}
