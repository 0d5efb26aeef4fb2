//! What handlers of all nouns have in common on the wire: the query, ids, filters, pages, tags.

mod filter;
mod id;
mod page;
mod query;
mod tag;

pub use filter::{Filter, Filters, pattern_matches};
pub use id::{WireId, id, ids, optional_id};
pub use page::{MAX_TOKEN, Page, page};
pub use query::Query;
pub use tag::{tag_list, tags_for, tags_in, tags_of};
