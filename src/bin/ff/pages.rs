//! Listings that come page by page.

use super::failure::Failure;

/// Every item of a listing. `page` reads what comes after a cursor: items, and the next cursor.
pub(super) async fn all_pages<T, C, R>(page: impl Fn(Option<C>) -> R) -> Result<Vec<T>, Failure>
where
    R: Future<Output = Result<(Vec<T>, Option<C>), Failure>>,
{
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (items, next) = page(after).await?;
        all.extend(items);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}
