//! The text of `Fn::Sub`, taken apart.

use crate::error::TemplateError;

/// A part of the text of `Fn::Sub`.
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// `${!x}`, which stands for `${x}` itself.
    Literal(&'a str),
    Variable(&'a str),
}

/// Takes the text of `Fn::Sub` apart.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        if let Some(literal) = name.strip_prefix('!') {
            pieces.push(Piece::Literal(literal));
        } else {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':'))
            {
                return Err(TemplateError::function(
                    "variable names in Fn::Sub syntax must contain only alphanumeric characters, underscores, periods, and colons",
                ));
            }
            pieces.push(Piece::Variable(name));
        }
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}
