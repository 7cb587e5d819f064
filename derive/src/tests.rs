//! What the compiler shows is tested in the library's `tests/ui`. Here: whatever is written, the
//! macro answers with code, never with a panic.

use proc_macro2::{Delimiter, Group, Literal, Punct, Spacing, TokenStream, TokenTree};
use quote::quote;

use crate::derive;

fn event() -> TokenStream {
    quote! {
        #[event(
            name = "order.placed", version = 2, key = (region, customer.id.0.1), id = r#type,
            topic = "orders", source = "shop", upcast_from = old::OrderPlaced<u8, V1>
        )]
        struct OrderPlaced<T: Clone, const N: usize> where T: Copy {
            region: String,
            customer: Customer<T>,
            r#type: [u8; N],
        }
    }
}

/// How many errors and impls of `Event` the macro wrote.
fn written(input: TokenStream) -> (usize, usize) {
    let output = derive(input);
    syn::parse2::<Items>(output.clone()).unwrap_or_else(|error| panic!("{error}: {output}"));
    let output = output.to_string();
    (
        output.matches("compile_error").count(),
        output.matches(":: Event for").count(),
    )
}

/// Balanced tokens are all that is asked of the output; rustc judges the rest in the UI tests.
struct Items;

impl syn::parse::Parse for Items {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        input.parse::<TokenStream>().map(|_| Self)
    }
}

#[test]
fn a_sound_event_has_an_impl_and_no_error() {
    assert_eq!(written(event()), (0, 1));
}

#[test]
fn a_mistake_leaves_an_impl_beside_its_error() {
    for (attribute, errors) in [
        (quote!(name = "a"), 1),
        (quote!(), 1),
        (quote!(name = "", version = 0), 2),
        (quote!(nam = "a", verson = "1"), 2),
        (
            quote!(name = "a", version = 1, key = b, id = (c, d), topic = 1),
            4,
        ),
        (quote!(,), 2),
        (quote!(name version key id topic source upcast_from), 2),
        (quote!(name = "a", version = 1, key = 0.1e3), 1),
        (quote!(name = "a", version = 1, key = 99999999999), 1),
        (
            quote!(name = "a", version = 1, upcast_from = dyn Fn(u8) -> u8),
            1,
        ),
    ] {
        let input = quote! { #[event(#attribute)] struct A { a: u8 } };
        assert_eq!(written(input), (errors, 1), "{attribute}");
    }
}

#[test]
fn row_01_nothing_makes_it_panic() {
    let mut written_events = 0;
    for tokens in mutations(&event()) {
        // Some mutations are no item at all, and a few still are an event.
        if syn::parse2::<syn::DeriveInput>(tokens.clone()).is_ok() {
            let (_, impls) = written(tokens);
            assert_eq!(impls, 1);
            written_events += 1;
        } else {
            assert_eq!(written(tokens), (1, 0));
        }
    }
    assert!(
        written_events > 400,
        "{written_events} mutations were items"
    );
}

/// Every token left out, doubled, swapped with the next, or replaced by something else.
fn mutations(tokens: &TokenStream) -> Vec<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let others: [TokenTree; 6] = [
        Literal::string("größe\0").into(),
        Literal::f64_unsuffixed(0.5).into(),
        Literal::i128_suffixed(i128::MIN).into(),
        Punct::new('=', Spacing::Alone).into(),
        Punct::new(',', Spacing::Alone).into(),
        Group::new(Delimiter::None, quote!(self)).into(),
    ];
    let mut all = Vec::new();
    for at in 0..tokens.len() {
        let with = |replacement: &[TokenTree], until: usize| {
            let (head, tail) = (&tokens[..at], &tokens[until.min(tokens.len())..]);
            head.iter()
                .chain(replacement)
                .chain(tail)
                .cloned()
                .collect::<TokenStream>()
        };
        let token = tokens[at].clone();
        all.push(with(&[], at + 1));
        all.push(with(&[token.clone(), token.clone()], at + 1));
        all.push(tokens[..at].iter().cloned().collect());
        if let Some(next) = tokens.get(at + 1) {
            all.push(with(&[next.clone(), token.clone()], at + 2));
        }
        for other in &others {
            all.push(with(std::slice::from_ref(other), at + 1));
        }
        if let TokenTree::Group(group) = &token {
            for inner in mutations(&group.stream()) {
                all.push(with(&[Group::new(group.delimiter(), inner).into()], at + 1));
            }
        }
    }
    all
}
