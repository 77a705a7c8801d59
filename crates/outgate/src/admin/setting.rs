//! What a flag sets: a value, or `none` to have it no more. As the API takes it: absent stays, `null` clears.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::trouble::Trouble;

/// A value, or `none`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Setting<T> {
    None,
    To(T),
}

pub(super) fn parsed<T: FromStr>(text: &str) -> Result<Setting<T>, T::Err> {
    if text == "none" { Ok(Setting::None) } else { text.parse().map(Setting::To) }
}

pub(super) fn setting_of<T, E>(parse: fn(&str) -> Result<T, E>) -> impl Fn(&str) -> Result<Setting<T>, E> + Clone {
    move |text| if text == "none" { Ok(Setting::None) } else { parse(text).map(Setting::To) }
}

pub(super) fn put<T>(fields: &mut Map<String, Value>, name: &str, setting: Option<Setting<T>>, value: impl FnOnce(T) -> Value) {
    match setting {
        None => {}
        Some(Setting::None) => {
            fields.insert(name.into(), Value::Null);
        }
        Some(Setting::To(to)) => {
            fields.insert(name.into(), value(to));
        }
    }
}

pub(super) fn put_list<T: ToString>(
    fields: &mut Map<String, Value>,
    name: &str,
    flag: &str,
    settings: Vec<Setting<T>>,
) -> Result<(), Trouble> {
    let nones = settings.iter().filter(|setting| matches!(setting, Setting::None)).count();
    if nones > 0 && settings.len() > 1 {
        return Err(Trouble::usage(format!("{flag} none stands alone: it removes the whole list")));
    }
    let values: Vec<String> =
        settings.iter().filter_map(|setting| if let Setting::To(to) = setting { Some(to.to_string()) } else { None }).collect();
    match (nones, values.is_empty()) {
        (0, true) => {}
        (_, true) => {
            fields.insert(name.into(), Value::Null);
        }
        (_, false) => {
            fields.insert(name.into(), json!(values));
        }
    }
    Ok(())
}
