use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{
    Attribute, DeriveInput, Lit, LitFloat, LitInt, LitStr, Meta, Token, Type, TypeGroup, TypeParen,
    TypePath,
};

use crate::mistakes::Mistakes;
use crate::model::{Attributes, FieldPath, Member, Setting};
use crate::suggest;

/// Reads every `#[event(…)]` on the item. After a mistake it goes on behind the next comma, so
/// that one typing error hides no other.
pub(crate) fn read(input: &DeriveInput, mistakes: &mut Mistakes) -> Attributes {
    let mut attributes = Attributes::default();
    for attribute in input.attrs.iter().filter(|attribute| is_event(attribute)) {
        let path = attribute.path();
        attributes.span.get_or_insert_with(|| path.span());
        match &attribute.meta {
            Meta::List(list) => {
                let tokens = list.tokens.clone();
                let read = |input: ParseStream<'_>| {
                    items(input, &mut attributes, mistakes);
                    Ok(())
                };
                if let Err(error) = Parser::parse2(read, tokens) {
                    mistakes.push(error);
                }
            }
            Meta::Path(_) | Meta::NameValue(_) => {
                mistakes.at(
                    &attribute.meta,
                    "expected a list: `#[event(name = \"order.placed\", version = 1)]`",
                );
                attributes.seen.extend([Setting::Name, Setting::Version]);
            }
        }
    }
    attributes
}

pub(crate) fn is_event(attribute: &Attribute) -> bool {
    attribute.path().is_ident("event")
}

fn items(input: ParseStream<'_>, attributes: &mut Attributes, mistakes: &mut Mistakes) {
    while !input.is_empty() {
        if let Err(error) = item(input, attributes, mistakes) {
            mistakes.push(error);
            rest_of_item(input);
        }
        if !input.is_empty() && input.parse::<Token![,]>().is_err() {
            mistakes.push(input.error("expected `,` before this"));
            // What looks like the next item is read as one.
            if !is_item(input) {
                rest_of_item(input);
                let _ = input.parse::<Token![,]>();
            }
        }
    }
}

fn item(
    input: ParseStream<'_>,
    attributes: &mut Attributes,
    mistakes: &mut Mistakes,
) -> syn::Result<()> {
    if !input.peek(Ident::peek_any) {
        let next: TokenTree = input.fork().parse()?;
        if input.peek(LitStr) && !attributes.seen.contains(&Setting::Name) {
            attributes.seen.push(Setting::Name);
            let message = format!("a value stands behind its key: `name = {next}`");
            return Err(syn::Error::new_spanned(next, message));
        }
        let message = format!(
            "expected one of {}, as in `{}`",
            valid(),
            Setting::Name.example()
        );
        return Err(syn::Error::new_spanned(next, message));
    }
    let ident = input.call(Ident::parse_any)?;
    let Some(key) = Setting::parse(&ident.to_string()) else {
        let near = suggest::nearest(&ident.to_string(), Setting::ALL.map(Setting::as_str));
        mistakes.at(&ident, unknown(&ident, near));
        // What was meant is not reported as missing too.
        attributes.seen.extend(near.and_then(Setting::parse));
        rest_of_item(input);
        return Ok(());
    };
    if attributes.seen.contains(&key) {
        mistakes.at(&ident, format!("`{ident}` is set twice: keep one"));
        rest_of_item(input);
        return Ok(());
    }
    attributes.seen.push(key);
    if input.parse::<Token![=]>().is_err() || input.is_empty() || input.peek(Token![,]) {
        mistakes.at(
            &ident,
            format!("`{ident}` needs a value, as in `{}`", key.example()),
        );
        rest_of_item(input);
        return Ok(());
    }
    match key {
        Setting::Name => attributes.name = Some(text(key, rest_of_item(input))?),
        Setting::Topic => attributes.topic = Some(text(key, rest_of_item(input))?),
        Setting::Source => attributes.source = Some(text(key, rest_of_item(input))?),
        Setting::Version => attributes.version = Some(version(rest_of_item(input))?),
        Setting::Key => attributes.key = Some(fields(key, rest_of_item(input))?),
        Setting::Id => attributes.id = Some(fields(key, rest_of_item(input))?),
        // Not cut at the next comma: `Page<A, B>` holds one.
        Setting::UpcastFrom => attributes.upcast_from = Some(previous(input)?),
    }
    Ok(())
}

/// What stands before the next comma, or the end, or what must be the next item.
fn rest_of_item(input: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) && (tokens.is_empty() || !is_item(input)) {
        match input.parse::<TokenTree>() {
            Ok(token) => tokens.extend([token]),
            Err(_) => break,
        }
    }
    tokens
}

fn is_item(input: ParseStream<'_>) -> bool {
    input.peek(Ident::peek_any) && input.peek2(Token![=])
}

fn unknown(ident: &Ident, near: Option<&str>) -> String {
    let guess = near
        .map(|near| format!(": did you mean `{near}`?"))
        .unwrap_or_default();
    format!("unknown key `{ident}`{guess} (valid: {})", valid())
}

fn valid() -> String {
    suggest::list(Setting::ALL.map(Setting::as_str), Setting::ALL.len())
}

fn text(key: Setting, tokens: TokenStream) -> syn::Result<LitStr> {
    syn::parse2::<LitStr>(tokens.clone()).map_err(|_| {
        syn::Error::new_spanned(
            tokens,
            format!("expected a text in quotes, as in `{}`", key.example()),
        )
    })
}

fn version(tokens: TokenStream) -> syn::Result<u32> {
    let error = |message: String| syn::Error::new_spanned(&tokens, message);
    match syn::parse2::<Lit>(tokens.clone()) {
        Ok(Lit::Int(number)) if matches!(number.suffix(), "" | "u32") => {
            match number.base10_parse::<u32>() {
                Ok(0) => Err(error("versions start at 1, as in `version = 1`".into())),
                Ok(number) => Ok(number),
                Err(_) if number.base10_digits().starts_with('-') => {
                    Err(error(format!("versions start at 1, `{number}` is none")))
                }
                Err(_) => Err(error(format!(
                    "`{number}` is too large for a version: at most {}",
                    u32::MAX
                ))),
            }
        }
        Ok(Lit::Str(text)) => Err(error(format!(
            "a version is a number, without quotes: `version = {}`",
            text.value()
                .parse::<u32>()
                .ok()
                .filter(|&number| number > 0)
                .unwrap_or(1)
        ))),
        _ => Err(error(
            "a version is a whole number from 1, as in `version = 1`".into(),
        )),
    }
}

fn previous(input: ParseStream<'_>) -> syn::Result<TypePath> {
    let start = input.fork();
    let error = |message: &str| {
        let wrong = rest_of_item(&start);
        syn::Error::new_spanned(wrong, message)
    };
    if input.peek(Lit) {
        return Err(error(
            "expected a type, without quotes: `upcast_from = OrderPlacedV1`",
        ));
    }
    let mut parsed = input.parse::<Type>();
    // A type that came through a macro stands in an invisible group.
    while let Ok(Type::Group(TypeGroup { elem, .. }) | Type::Paren(TypeParen { elem, .. })) = parsed
    {
        parsed = Ok(*elem);
    }
    match parsed {
        Ok(Type::Path(path)) => Ok(path),
        _ => Err(error(
            "expected the type that holds the version just below, as in `upcast_from = OrderPlacedV1`",
        )),
    }
}

/// One path, or several in parentheses.
fn fields(key: Setting, tokens: TokenStream) -> syn::Result<Vec<FieldPath>> {
    let several = |input: ParseStream<'_>| {
        if !input.peek(syn::token::Paren) {
            return Ok(vec![field_path(key, input)?]);
        }
        let inner;
        syn::parenthesized!(inner in input);
        let mut paths = Vec::new();
        while !inner.is_empty() {
            paths.push(field_path(key, &inner)?);
            if !inner.is_empty() {
                inner.parse::<Token![,]>()?;
            }
        }
        Ok(paths)
    };
    let paths = Parser::parse2(several, tokens.clone())?;
    if paths.is_empty() {
        return Err(syn::Error::new_spanned(
            tokens,
            format!("no field is named: write `{}`", key.example()),
        ));
    }
    Ok(paths)
}

fn field_path(key: Setting, input: ParseStream<'_>) -> syn::Result<FieldPath> {
    let mut members = members(key, input)?.into_iter();
    let Some(first) = members.next() else {
        return Err(input.error(format!("expected a field, as in `{}`", key.example())));
    };
    let mut rest: Vec<_> = members.collect();
    while input.parse::<Option<Token![.]>>()?.is_some() {
        rest.extend(self::members(key, input)?);
    }
    if !input.is_empty() && !input.peek(Token![,]) {
        let next: TokenTree = input.parse()?;
        let message = format!(
            "only fields can be named here, as in `{}` or `{} = (region, customer.id)`",
            key.example(),
            key.as_str()
        );
        // What follows is part of the same mistake.
        rest_of_item(input);
        return Err(syn::Error::new_spanned(next, message));
    }
    Ok(FieldPath { first, rest })
}

/// One member, or the two that the lexer takes for a number in `pair.0.1`.
fn members(key: Setting, input: ParseStream<'_>) -> syn::Result<Vec<Member>> {
    if input.peek(Ident::peek_any) {
        let ident = input.call(Ident::parse_any)?;
        if ident == "self" {
            return Err(syn::Error::new_spanned(
                ident,
                format!("name the field alone, without `self`: `{}`", key.example()),
            ));
        }
        if syn::parse_str::<Ident>(&ident.to_string()).is_err() {
            let message = format!("`{ident}` is a keyword: write the field as `r#{ident}`");
            return Err(syn::Error::new_spanned(ident, message));
        }
        return Ok(vec![Member::Named(ident)]);
    }
    if input.peek(LitInt) {
        let literal: LitInt = input.parse()?;
        return Ok(vec![Member::Index(literal.base10_parse()?, literal.span())]);
    }
    if input.peek(LitFloat) {
        let literal: LitFloat = input.parse()?;
        let index = |digits: &str| {
            digits
                .parse()
                .map(|index| Member::Index(index, literal.span()))
                .map_err(|_| {
                    syn::Error::new_spanned(&literal, "expected fields by place, as in `0.1`")
                })
        };
        return literal.to_string().split('.').map(index).collect();
    }
    if input.peek(LitStr) {
        let literal: LitStr = input.parse()?;
        return Err(syn::Error::new_spanned(
            literal,
            format!("expected a field, without quotes: `{}`", key.example()),
        ));
    }
    Err(input.error(format!("expected a field, as in `{}`", key.example())))
}
