//! `tools/list` over all pages. A caller that lists repeatedly keeps the responses: a list of which no byte has changed is known
//! without being read.
//!
//! Bytes are compared, not a digest of them: that is quicker, and cannot be deceived. Must not know what a list is for.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use serde_json::{Value, json};

use super::error::Error;
use super::exchange::Response;
use super::session::Session;
use crate::wire::bounded;
use crate::wire::declaration::Tool;
use crate::wire::envelope::Envelope;

const WHAT: &str = "tools/list";
const PAGES_MAX: usize = 100;
/// All pages together. A list that has not changed is kept whole, so this is also what it may take in memory.
const LIST_BYTES_MAX: usize = 2 << 20;
/// More tools than any server has; each takes some room besides its text.
const TOOLS_MAX: usize = 10_000;

/// The responses of a list that has been read.
#[derive(Debug, Default)]
pub(crate) struct CachedToolsList {
    pages: Vec<Page>,
}

/// One response, the id of its request, and the cursor in it.
#[derive(Debug)]
struct Page {
    id: Value,
    reply: Response,
    next: Option<String>,
}

impl Page {
    /// The same without what is not read again: a copied body has no more room than it needs.
    fn slim(mut self) -> Page {
        self.reply.body = Bytes::copy_from_slice(&self.reply.body);
        self.reply.headers = HeaderMap::default();
        self
    }
}

/// The responses of one walk through all pages.
#[derive(Debug, Default)]
struct Walk {
    /// What each page declares; nothing of a page that is known.
    read: Vec<Option<Vec<Tool>>>,
    pages: Vec<Page>,
    bytes: usize,
    tools: usize,
    elapsed: Duration,
}

impl Session<'_> {
    /// Every tool, over all pages, and how long it took.
    pub(crate) async fn list_tools(&self) -> Result<(Vec<Tool>, Duration), Error> {
        let walk = self.walk(&[]).await?;
        Ok((walk.read.into_iter().flatten().flatten().collect(), walk.elapsed))
    }

    /// Every tool, over all pages, unless the responses are byte by byte those of `known`, which then stands. Otherwise
    /// `known` becomes what was listed now; after an error it is empty.
    pub(crate) async fn list_tools_again(
        &self,
        known: &mut CachedToolsList,
    ) -> Result<Option<Vec<Tool>>, Error> {
        let before = std::mem::take(known);
        let walk = self.walk(&before.pages).await?;
        if walk.read.iter().all(Option::is_none) {
            *known = before;
            return Ok(None);
        }
        let mut tools = Vec::new();
        for (index, read) in walk.read.into_iter().enumerate() {
            match (read, before.pages.get(index)) {
                (Some(read), _) => tools.extend(read),
                (None, Some(page)) => tools.extend(self.read_page(&page.id, &page.reply)?.0),
                (None, None) => {}
            }
        }
        known.pages = walk.pages.into_iter().map(Page::slim).collect();
        Ok(Some(tools))
    }

    async fn walk(&self, known: &[Page]) -> Result<Walk, Error> {
        let (mut walk, mut cursor) = (Walk::default(), None::<String>);
        for index in 0..PAGES_MAX {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let (id, reply) = self.send(WHAT, params, None).await?;
            walk.elapsed += reply.elapsed;
            walk.bytes += reply.body.len();
            self.client.bound(WHAT, walk.bytes)?;
            if walk.bytes > LIST_BYTES_MAX {
                return Err(Error::TooLarge { question: self.client.question(WHAT), max: LIST_BYTES_MAX });
            }
            let alike = known.get(index).filter(|page| page.id == id && page.reply.body == reply.body);
            let (read, next) = match alike {
                Some(page) => (None, page.next.clone()),
                None => {
                    let (tools, next) = self.read_page(&id, &reply)?;
                    (Some(tools), next)
                }
            };
            walk.tools += read.as_ref().map_or(0, Vec::len);
            self.bound_tools(walk.tools)?;
            walk.read.push(read);
            walk.pages.push(Page { id, reply, next: next.clone() });
            match next {
                None => return Ok(walk),
                Some(_) if next == cursor => break,
                Some(_) => cursor = next,
            }
        }
        Err(Error::Pages { question: self.client.question(WHAT), max: PAGES_MAX })
    }

    /// The tools of one page, and the cursor to the next.
    fn read_page(&self, id: &Value, reply: &Response) -> Result<(Vec<Tool>, Option<String>), Error> {
        let Some(result) = Envelope::read(&reply.body).and_then(|envelope| envelope.result_for(id)) else {
            // Not a list: what it is instead may be read as a whole.
            let answered = self.read(WHAT, id, reply)?;
            self.result_of(WHAT, answered)?;
            return Err(self.unusable(WHAT, reply));
        };
        let lacks = |lacks| Error::Shape { question: self.client.question(WHAT), lacks };
        let [list, next] =
            bounded::members(result.get().as_bytes(), ["tools", "nextCursor"]).unwrap_or_default();
        let list = list.ok_or_else(|| lacks("the array `tools`"))?;
        let (mut tools, mut nameless) = (Vec::new(), false);
        let is_list = bounded::elements(list.get().as_bytes(), |element| {
            match Tool::read(element.get().as_bytes()) {
                Some(tool) => tools.push(tool),
                None => nameless = true,
            }
            !nameless && tools.len() <= TOOLS_MAX
        });
        if !is_list {
            return Err(lacks("the array `tools`"));
        }
        if nameless {
            return Err(lacks("the `name` of a tool"));
        }
        self.bound_tools(tools.len())?;
        Ok((tools, next.and_then(bounded::text)))
    }

    fn bound_tools(&self, tools: usize) -> Result<(), Error> {
        let (question, max) = (self.client.question(WHAT), TOOLS_MAX);
        if tools > max { Err(Error::TooMany { question, max }) } else { Ok(()) }
    }
}
