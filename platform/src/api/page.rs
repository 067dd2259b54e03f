//! A list as the client asked for it: ordered, cut, and with the way to the next part.

use super::error::ApiError;
use super::range::Range;
use axum::Json;
use axum::http::header::{ACCEPT_RANGES, CONTENT_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::cmp::Ordering;

const NEXT_RANGE: HeaderName = HeaderName::from_static("next-range");

/// Answers with the part of `items` that the Range header asks for, by one of `properties`; the
/// first of them is the default, also for a property that the list does not know.
pub(super) fn page(
    headers: &HeaderMap,
    properties: &[&'static str],
    mut items: Vec<Value>,
) -> Result<Response, ApiError> {
    let header = headers.get(RANGE).map(HeaderValue::to_str).transpose();
    let range = Range::parse(header.map_err(|_| ApiError::range())?.unwrap_or_default());
    let range = range.ok_or_else(ApiError::range)?;
    let default = properties.first().copied().unwrap_or("id");
    let property =
        properties.iter().copied().find(|known| *known == range.property).unwrap_or(default);
    items.sort_by(|a, b| compare(&a[property], &b[property]));
    if range.descending {
        items.reverse();
    }
    items.retain(|item| within(&range, &item[property]));
    let more = items.len() > range.max;
    items.truncate(range.max);
    let first = items.first().map(|item| text(&item[property])).unwrap_or_default();
    let last = items.last().map(|item| text(&item[property])).unwrap_or_default();
    let status = if more { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, Json(Value::Array(items))).into_response();
    set(&mut response, ACCEPT_RANGES, &properties.join(", "));
    set(&mut response, CONTENT_RANGE, &format!("{property} {first}..{last}"));
    if more {
        set(&mut response, NEXT_RANGE, &range.next(property, &last));
    }
    Ok(response)
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn within(range: &Range, value: &Value) -> bool {
    let order = |bound: &str| {
        let ordering = match (value.as_u64(), bound.parse::<u64>()) {
            (Some(number), Ok(bound)) => number.cmp(&bound),
            _ => text(value).as_str().cmp(bound),
        };
        if range.descending { ordering.reverse() } else { ordering }
    };
    let after = range.start.as_ref().is_none_or(|start| match order(&start.value) {
        Ordering::Less => false,
        Ordering::Equal => !start.exclusive,
        Ordering::Greater => true,
    });
    let before = range.end.as_ref().is_none_or(|end| match order(&end.value) {
        Ordering::Less => true,
        Ordering::Equal => !end.exclusive,
        Ordering::Greater => false,
    });
    after && before
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_u64(), b.as_u64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => text(a).cmp(&text(b)),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use serde_json::json;

    async fn ask(range: &str) -> (u16, Option<String>, Vec<u64>) {
        let items =
            (1..=12).map(|version| json!({"version": version, "id": format!("i{version}")}));
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        let response = page(&headers, &["version", "id"], items.collect()).unwrap();
        let next = response.headers().get(NEXT_RANGE).map(|v| v.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Vec<Value> = serde_json::from_slice(&body).unwrap();
        (status, next, body.iter().map(|item| item["version"].as_u64().unwrap()).collect())
    }

    #[tokio::test]
    async fn pages_follow_each_other_without_gap_or_repetition() {
        let (status, next, items) = ask("version ..; max=5, order=desc").await;
        assert_eq!((status, items), (206, vec![12, 11, 10, 9, 8]));
        let (status, next, items) = ask(&next.unwrap()).await;
        assert_eq!((status, items), (206, vec![7, 6, 5, 4, 3]));
        let (status, next, items) = ask(&next.unwrap()).await;
        assert_eq!((status, next, items), (200, None, vec![2, 1]));
        assert_eq!(ask("domain ..; max=1000").await.2, (1..=12).collect::<Vec<_>>());
    }
}
