use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, Field, Fields, GenericArgument, LitStr, PathArguments, ReturnType, Type,
};

use crate::attr::is_event;
use crate::mistakes::Mistakes;
use crate::model::{Event, FieldPath, Member, Model, Setting};
use crate::suggest;

const NAME_LIMIT: usize = 128;
/// Kafka's limit, the smallest of all transports.
const TOPIC_LIMIT: usize = 249;
const SOURCE_LIMIT: usize = 255;
/// The bus's own topics: dead letters and held retries.
const RESERVED: [&str; 2] = [".dead", ".retry"];

/// Judges what was written; notes every mistake there is.
pub(crate) fn check<'a>(model: &'a Model<'a>, mistakes: &mut Mistakes) -> Option<Event<'a>> {
    let attributes = &model.attributes;
    if let Data::Union(union) = &model.input.data {
        let message = "a union cannot be an event: make it a struct or an enum";
        mistakes.push(syn::Error::new(union.union_token.span, message));
    }
    misplaced_attributes(model, mistakes);
    missing(model, mistakes);
    if let Some(name) = &attributes.name {
        wire_name("an event name", name, NAME_LIMIT, mistakes);
    }
    if let Some(topic) = &attributes.topic {
        wire_name("a topic", topic, TOPIC_LIMIT, mistakes);
    }
    if let Some(source) = &attributes.source {
        source_name(source, mistakes);
    }
    if let (Some(previous), Some(1)) = (&attributes.upcast_from, attributes.version) {
        mistakes.at(
            previous,
            "version 1 has no version below it: raise `version`, or remove `upcast_from`",
        );
    }
    for (key, paths) in [
        (Setting::Key, &attributes.key),
        (Setting::Id, &attributes.id),
    ] {
        if let Some(paths) = paths {
            field_paths(model, key, paths, mistakes);
        }
    }
    borrowed(model, mistakes);
    Some(Event {
        input: model.input,
        attributes,
        name: attributes.name.as_ref()?,
        version: attributes.version?,
    })
}

fn missing(model: &Model<'_>, mistakes: &mut Mistakes) {
    let wanted = [Setting::Name, Setting::Version];
    let missing: Vec<Setting> = wanted
        .into_iter()
        .filter(|key| !model.attributes.seen.contains(key))
        .collect();
    let (names, example) = match missing[..] {
        [] => return,
        [Setting::Version] => ("`version`", Setting::Version.example().to_owned()),
        [_] => ("`name`", format!("name = {:?}", suggested_name(model))),
        _ => (
            "`name` and `version`",
            format!("name = {:?}, version = 1", suggested_name(model)),
        ),
    };
    let message = format!("an event declares its {names}: add `#[event({example})]`");
    match model.attributes.span {
        Some(span) => mistakes.push(syn::Error::new(span, message)),
        None => mistakes.at(&model.input.ident, message),
    }
}

/// `OrderPlaced` → `order.placed`: a proposal for the message. What is on the wire is declared,
/// never taken from a Rust name.
fn suggested_name(model: &Model<'_>) -> String {
    let ident = model.input.ident.unraw().to_string();
    let mut name = String::with_capacity(ident.len() + 4);
    for letter in ident.chars().filter(char::is_ascii) {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('.');
        }
        name.push(letter.to_ascii_lowercase());
    }
    if name.is_empty() {
        "order.placed".into()
    } else {
        name
    }
}

fn wire_name(what: &str, literal: &LitStr, limit: usize, mistakes: &mut Mistakes) {
    let name = literal.value();
    let rule = "letters, digits, `.`, `_` and `-`, the first a letter or a digit";
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        mistakes.at(literal, format!("{what} cannot be empty: use {rule}"));
    } else if let Some(wrong) = name.chars().find(|&c| !allowed(c)) {
        mistakes.at(literal, format!("{what} cannot hold {wrong:?}: use {rule}"));
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        mistakes.at(
            literal,
            format!("{what} starts with a letter or a digit: use {rule}"),
        );
    } else if name.len() > limit {
        let message = format!(
            "{what} is at most {limit} bytes long, this one has {}",
            name.len()
        );
        mistakes.at(literal, message);
    } else if let Some(end) = RESERVED.into_iter().find(|end| name.ends_with(end)) {
        mistakes.at(
            literal,
            format!("{what} cannot end in `{end}`: the bus keeps its own records there"),
        );
    }
}

fn source_name(literal: &LitStr, mistakes: &mut Mistakes) {
    let source = literal.value();
    if source.is_empty() {
        mistakes.at(
            literal,
            "a source cannot be empty: name the service, or leave it out for the bus's own name",
        );
    } else if source.len() > SOURCE_LIMIT {
        let message = format!(
            "a source is at most {SOURCE_LIMIT} bytes long, this one has {}",
            source.len()
        );
        mistakes.at(literal, message);
    } else if let Some(wrong) = source.chars().find(|c| !c.is_ascii_graphic()) {
        mistakes.at(
            literal,
            format!("a source cannot hold {wrong:?}: use a name or a URI in plain ASCII"),
        );
    }
}

fn field_paths(model: &Model<'_>, key: Setting, paths: &[FieldPath], mistakes: &mut Mistakes) {
    let fields = match &model.input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(_) => {
            let message = format!(
                "an enum has no field that every variant shares: implement `Event` by hand to \
                 give it `{}`, or use a struct",
                key.as_str()
            );
            mistakes.at(Several(paths), message);
            return;
        }
        Data::Union(_) => return,
    };
    let mut named = Vec::with_capacity(paths.len());
    for path in paths {
        if !has_field(fields, &path.first) {
            mistakes.push(syn::Error::new(
                path.first.span(),
                no_field(model, fields, &path.first),
            ));
        }
        let text = path.text();
        if named.contains(&text) {
            mistakes.at(
                path,
                format!("`{text}` is in `{}` twice: keep one", key.as_str()),
            );
        }
        named.push(text);
    }
}

struct Several<'a>(&'a [FieldPath]);

impl ToTokens for Several<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.iter().for_each(|path| path.to_tokens(tokens));
    }
}

fn has_field(fields: &Fields, member: &Member) -> bool {
    match member {
        Member::Named(wanted) => fields.iter().any(|field| {
            field
                .ident
                .as_ref()
                .is_some_and(|ident| ident.unraw() == wanted.unraw())
        }),
        Member::Index(index, _) => {
            matches!(fields, Fields::Unnamed(fields) if (*index as usize) < fields.unnamed.len())
        }
    }
}

fn no_field(model: &Model<'_>, fields: &Fields, member: &Member) -> String {
    let ident = &model.input.ident;
    let text = member.text();
    let names: Vec<String> = match fields {
        Fields::Named(fields) => fields
            .named
            .iter()
            .filter_map(|field| Some(field.ident.as_ref()?.to_string()))
            .collect(),
        Fields::Unnamed(fields) => (0..fields.unnamed.len()).map(|i| i.to_string()).collect(),
        Fields::Unit => Vec::new(),
    };
    let names = || names.iter().map(String::as_str);
    match (names().next(), suggest::nearest(&text, names())) {
        (None, _) => format!("`{ident}` has no fields"),
        (Some(_), Some(near)) if matches!(member, Member::Named(_)) => {
            format!("`{ident}` has no field `{text}`: did you mean `{near}`?")
        }
        _ => format!(
            "`{ident}` has no field `{text}`, only {}",
            suggest::list(names(), 8)
        ),
    }
}

/// Helper attributes are legal anywhere in the item, but mean something only on the item itself.
fn misplaced_attributes(model: &Model<'_>, mistakes: &mut Mistakes) {
    let mut report = |attributes: &[Attribute], place: &str, field: Option<&Ident>| {
        let field = field.map_or_else(|| "order_id".into(), Ident::to_string);
        for attribute in attributes.iter().filter(|attribute| is_event(attribute)) {
            let message = format!(
                "`event` describes the whole event and cannot stand on a {place}: move it to the \
                 top, as in `#[event(key = {field}, …)]`"
            );
            mistakes.at(attribute.path(), message);
        }
    };
    if let Data::Enum(data) = &model.input.data {
        for variant in &data.variants {
            report(&variant.attrs, "variant", None);
        }
    }
    for field in all_fields(&model.input.data) {
        report(&field.attrs, "field", field.ident.as_ref());
    }
    for parameter in model.input.generics.type_params() {
        report(&parameter.attrs, "parameter", None);
    }
}

fn all_fields(data: &Data) -> Vec<&Field> {
    match data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data
            .variants
            .iter()
            .flat_map(|variant| &variant.fields)
            .collect(),
        Data::Union(data) => data.fields.named.iter().collect(),
    }
}

/// An event outlives the call that emits it, so it borrows nothing. The field is blamed where one
/// holds a reference; else the lifetime parameter.
fn borrowed(model: &Model<'_>, mistakes: &mut Mistakes) {
    let mut blamed = Vec::new();
    for field in all_fields(&model.input.data) {
        let mut found = Vec::new();
        references(&field.ty, &mut found);
        for reference in found {
            let lifetime = reference
                .lifetime
                .as_ref()
                .map(|lifetime| lifetime.ident.to_string());
            // serde can be told to skip or build a `&'static` field, so that nothing is borrowed.
            if lifetime.as_deref() == Some("static") && has_serde_attribute(field) {
                continue;
            }
            blamed.extend(lifetime);
            let advice = match &*reference.elem {
                Type::Path(path) if path.path.is_ident("str") => "a `String`, or a `Box<str>`",
                Type::Slice(_) => "a `Vec`",
                _ => "the value itself, a `Box` or an `Arc`",
            };
            mistakes.at(
                reference,
                format!("an event owns its data, it outlives the call that emits it: use {advice}"),
            );
        }
    }
    for parameter in model.input.generics.lifetimes() {
        if !blamed.contains(&parameter.lifetime.ident.to_string()) {
            mistakes.at(
                &parameter.lifetime,
                "an event owns its data, it outlives the call that emits it: remove this lifetime",
            );
        }
    }
}

fn has_serde_attribute(field: &Field) -> bool {
    field
        .attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("serde"))
}

/// The outermost references in a type.
fn references<'a>(ty: &'a Type, found: &mut Vec<&'a syn::TypeReference>) {
    match ty {
        Type::Reference(reference) => found.push(reference),
        Type::Array(array) => references(&array.elem, found),
        Type::Slice(slice) => references(&slice.elem, found),
        Type::Group(group) => references(&group.elem, found),
        Type::Paren(paren) => references(&paren.elem, found),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|ty| references(ty, found)),
        Type::Path(path) => {
            for segment in &path.path.segments {
                match &segment.arguments {
                    PathArguments::AngleBracketed(arguments) => {
                        for argument in &arguments.args {
                            if let GenericArgument::Type(ty) = argument {
                                references(ty, found);
                            }
                        }
                    }
                    PathArguments::Parenthesized(arguments) => {
                        if let ReturnType::Type(_, ty) = &arguments.output {
                            references(ty, found);
                        }
                    }
                    PathArguments::None => {}
                }
            }
        }
        _ => {}
    }
}
