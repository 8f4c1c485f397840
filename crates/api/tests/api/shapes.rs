//! Every answer that any test gets is held against the OpenAPI document: nothing missing, nothing unknown, right types.

use serde_json::{Map, Value};

use crate::support::{DOCUMENT, Reply};

/// A problem document has all its members, and they say what the status says.
#[track_caller]
pub fn is_a_problem(reply: &Reply) {
    let text = |name: &str| reply.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", reply.body)).to_owned();
    assert_eq!(reply.body["status"].as_u64(), Some(reply.status.into()));
    assert_eq!(text("type"), format!("/api/problems/{}", text("code")));
    assert_eq!(text("request_id"), reply.header("x-request-id"));
    assert!(["no", "yes", "not_yet_known"].contains(&text("money_moved").as_str()));
    for name in ["title", "detail", "what_we_do", "what_you_can_do"] {
        assert!(!text(name).is_empty(), "{name} is empty in {}", reply.body);
    }
    let mut faults = Vec::new();
    fits(&DOCUMENT["components"]["schemas"]["Problem"], &reply.body, "", &mut faults);
    assert!(faults.is_empty(), "{faults:?}");
}

/// The answer is one that the document promises for this route and status.
#[track_caller]
pub fn answer_conforms(method: &str, path: &str, reply: &Reply) {
    let path = path.split('?').next().unwrap();
    let Some(operation) = operation(method, path) else { return };
    let mut response = &operation["responses"][reply.status.to_string()];
    assert!(!response.is_null(), "{method} {path} answers {} and the document does not say so: {}", reply.status, reply.body);
    if let Some(name) = response["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        response = &DOCUMENT["components"]["responses"][name];
    }
    let Some(content) = response["content"].as_object().and_then(|c| c.values().next()) else { return };
    let mut faults = Vec::new();
    fits(&content["schema"], &reply.body, "", &mut faults);
    assert!(faults.is_empty(), "{method} {path}: {faults:?} in {}", reply.body);
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let matches = |template: &str| {
        let (t, p): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        t.len() == p.len() && t.iter().zip(&p).all(|(t, p)| t.starts_with('{') || t == p)
    };
    // A template without parameters wins, as in the router.
    let mut found: Vec<&String> = paths.keys().filter(|t| matches(t)).collect();
    found.sort_by_key(|t| t.matches('{').count());
    found.first().map(|t| &paths[*t][method.to_lowercase()]).filter(|o| o.is_object())
}

/// The members of an object schema, those of its parts among them.
fn members(schema: &Value, properties: &mut Map<String, Value>, required: &mut Vec<String>) {
    let schema = resolved(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        members(part, properties, required);
    }
    properties.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(|n| n.as_str().map(str::to_owned)));
}

fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        Some(name) => {
            let found = &DOCUMENT["components"]["schemas"][name];
            assert!(found.is_object(), "the document has no schema {name}");
            resolved(found)
        }
        None => schema,
    }
}

pub fn fits(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = resolved(schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices.iter().any(|choice| {
            let mut own = Vec::new();
            fits(choice, value, at, &mut own);
            own.is_empty()
        });
        if !fitting {
            faults.push(format!("{at}: {value} is none of the choices"));
        }
        return;
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let right = kinds.is_empty()
        || kinds.iter().any(|kind| match *kind {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        });
    if !right {
        faults.push(format!("{at}: {value} is not {kinds:?}"));
        return;
    }
    if let Some(items) = value.as_array() {
        for (i, item) in items.iter().enumerate() {
            fits(&schema["items"], item, &format!("{at}/{i}"), faults);
        }
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    members(schema, &mut properties, &mut required);
    let Some(object) = value.as_object().filter(|_| !properties.is_empty()) else { return };
    for name in required.iter().filter(|name| !object.contains_key(*name)) {
        faults.push(format!("{at}/{name} is missing"));
    }
    for (name, member) in object {
        match properties.get(name) {
            Some(schema) => fits(schema, member, &format!("{at}/{name}"), faults),
            None => faults.push(format!("{at}/{name} is not in the document")),
        }
    }
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let schema =
        serde_json::json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" }, "b": { "type": ["integer", "null"] } } });
    let faults = |value: Value| {
        let mut faults = Vec::new();
        fits(&schema, &value, "", &mut faults);
        faults.len()
    };
    assert_eq!(faults(serde_json::json!({ "a": "x", "b": null })), 0);
    assert_eq!(faults(serde_json::json!({ "b": 1 })), 1);
    assert_eq!(faults(serde_json::json!({ "a": 1, "b": "x", "c": 0 })), 3);
}
