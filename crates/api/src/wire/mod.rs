//! What handlers of all nouns have in common on the wire: the query, ids, values, filters, pages, tags.

mod filter;
mod id;
mod page;
mod query;
mod tag;
mod value;

pub use filter::{Filter, Filters, pattern_matches};
pub use id::{WireId, id, ids, optional_id};
pub use page::{MAX_TOKEN, Page, page};
pub use query::Query;
pub use tag::{tag_list, tags_for, tags_in, tags_of};
pub use value::{cidr, flag, text, time, value};
