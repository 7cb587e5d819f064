use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Generics, LitStr, TypePath};

use crate::model::{Event, FieldPath, Member};

/// The impl of an event without mistakes.
///
/// All names go through the crate's hidden `__private` module, so that a user's own `Option`,
/// `String` or `Result` changes nothing.
pub(crate) fn expand(event: &Event<'_>) -> TokenStream {
    let krate = crate_path();
    let private = quote!(#krate::__private);
    let ident = &event.input.ident;
    let (name, version) = (event.name, event.version);
    let attributes = event.attributes;

    let constant = |constant: Ident, value: Option<&LitStr>| {
        value.map(|value| {
            quote! {
                const #constant: #private::Option<&'static #private::str> = #private::Some(#value);
            }
        })
    };
    let topic = constant(
        Ident::new("TOPIC", Span::call_site()),
        attributes.topic.as_ref(),
    );
    let source = constant(
        Ident::new("SOURCE", Span::call_site()),
        attributes.source.as_ref(),
    );
    let key = attributes.key.as_ref().map(|paths| {
        let text = key_text(&private, "", paths);
        quote! {
            fn key(&self) -> #private::Option<#private::String> {
                #private::Some(#text)
            }
        }
    });
    let natural_id = attributes.id.as_ref().map(|paths| {
        let text = key_text(&private, &format!("{}:", name.value()), paths);
        quote! {
            fn natural_id(&self) -> #private::Option<#private::String> {
                #private::Some(#text)
            }
        }
    });

    let generics = &event.input.generics;
    let (impl_generics, ty_generics, _) = generics.split_for_impl();
    let where_clause = where_clause(generics, &bounds(&krate, event));
    let generic = !generics.params.is_empty();
    let this = quote!(#ident #ty_generics);
    let upcast = attributes
        .upcast_from
        .as_ref()
        .map(|previous| Upcast::new(&private, &quote!(__Link<#this>), ident, previous));
    let upcast_methods = upcast.as_ref().map(|Upcast { check, .. }| {
        // With parameters open the check waits for a use that fills them in.
        let late_check = generic.then(|| quote!(const { #check };));
        quote! {
            fn from_version(
                version: #private::u32,
                body: &#krate::Body<'_>,
            ) -> #private::Result<Self, #krate::DecodeError> {
                #late_check
                #private::from_version::<__Link<Self>>(version, body)
            }

            fn lineage(lineage: &mut #krate::Lineage) {
                #private::lineage::<__Link<Self>>(lineage);
            }
        }
    });

    // A static cannot have parameters: events that do share the library's own places.
    let cache = (!generic).then(|| {
        // No name that an event or a constant of the user could have too.
        let [out, using] = ["__Out", "__using"].map(|name| Ident::new(name, Span::mixed_site()));
        quote! {
            #[inline(always)]
            fn cache<#out>(
                #using: impl ::core::ops::FnOnce(&#private::Cache<Self>) -> #out,
            ) -> #private::Option<#out> {
                #private::thread_local! {
                    static CACHE: #private::Cache<#this> = const { #private::Cache::new() };
                }
                #private::Result::ok(CACHE.try_with(#using))
            }
        }
    });

    let event_impl = quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Event for #this #where_clause {
            const NAME: &'static #private::str = #name;
            const VERSION: #private::u32 = #version;
            #topic
            #source
            #key
            #natural_id
            #upcast_methods
            #cache
        }
    };
    let Some(Upcast { previous, check }) = upcast else {
        return event_impl;
    };
    let early_check = (!generic).then(|| quote!(const _: () = #check;));
    quote! {
        const _: () = {
            #[allow(dead_code)]
            struct __Link<Event>(#private::PhantomData<Event>);

            #[automatically_derived]
            impl #impl_generics #private::Link for __Link<#this> #where_clause {
                type Event = #this;
                type Previous = #previous;
            }

            #event_impl

            #early_check
        };
    }
}

struct Upcast<'a> {
    previous: &'a TypePath,
    /// A constant expression that fails the build, with its reason, where the chain is broken.
    check: TokenStream,
}

impl<'a> Upcast<'a> {
    fn new(
        private: &TokenStream,
        link: &TokenStream,
        ident: &Ident,
        previous: &'a TypePath,
    ) -> Self {
        let this_text = ident.to_string();
        let previous_text = previous.to_token_stream().to_string().replace(' ', "");
        let mistake = Ident::new("mistake", Span::mixed_site());
        let segments = &previous.path.segments;
        let blamed = segments
            .last()
            .map_or_else(Span::call_site, |last| last.ident.span());
        let refuse = moved(quote!(#private::refuse(#mistake)), blamed);
        let check = quote! {
            if let #private::Some(#mistake) =
                &#private::chain_mistake::<#link>(#this_text, #previous_text)
            {
                #refuse
            }
        };
        Self { previous, check }
    }
}

/// The tokens as if they stood at `place`, with the names they had: rustc points there.
fn moved(tokens: TokenStream, place: Span) -> TokenStream {
    let token = |mut token: TokenTree| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), moved(group.stream(), place)).into();
        }
        token.set_span(place.resolved_at(token.span()));
        token
    };
    tokens.into_iter().map(token).collect()
}

/// The path of the library in the user's crate, whatever it is called there.
pub(crate) fn crate_path() -> TokenStream {
    let found = match crate_name("tidings") {
        Ok(FoundCrate::Name(name)) => syn::parse_str::<Ident>(&name).ok(),
        // The library's own tests, examples and doc-tests know it by its name. An error means that
        // there is no manifest to look in: the plain name is the best guess, and rustc reports it.
        Ok(FoundCrate::Itself) | Err(_) => None,
    };
    match found {
        Some(ident) => quote!(::#ident),
        None => quote!(::tidings),
    }
}

/// What an event needs of its parameters. The bounds go on the whole type, not on each parameter:
/// what serde asks of the parameters is for serde to say.
fn bounds(krate: &TokenStream, event: &Event<'_>) -> Vec<TokenStream> {
    let generics = &event.input.generics;
    let parameters: Vec<&Ident> = generics
        .type_params()
        .map(|parameter| &parameter.ident)
        .collect();
    if parameters.is_empty() {
        return Vec::new();
    }
    let mut bounds = vec![whole_type(krate, event.input, &TokenStream::new())];
    if let Some(previous) = &event.attributes.upcast_from
        && mentions(previous.to_token_stream(), &parameters)
    {
        bounds.push(quote!(#previous: #krate::Event));
    }
    let paths = event
        .attributes
        .key
        .iter()
        .chain(&event.attributes.id)
        .flatten();
    for path in paths.filter(|path| path.rest.is_empty()) {
        let Some(ty) = field_type(event, &path.first) else {
            continue;
        };
        if mentions(ty.to_token_stream(), &parameters) {
            bounds.push(quote!(#ty: #krate::KeyPart));
        }
    }
    bounds
}

/// The bound that the supertraits of `Event` put on the type.
pub(crate) fn whole_type(
    krate: &TokenStream,
    input: &DeriveInput,
    binder: &TokenStream,
) -> TokenStream {
    let ident = &input.ident;
    let (_, ty_generics, _) = input.generics.split_for_impl();
    quote! {
        #binder #ident #ty_generics: #krate::__private::Serialize
            + #krate::__private::DeserializeOwned
            + #krate::__private::Send
            + #krate::__private::Sync
            + 'static
    }
}

/// The item's own where clause and these bounds.
pub(crate) fn where_clause(generics: &Generics, bounds: &[TokenStream]) -> TokenStream {
    let own = generics
        .where_clause
        .iter()
        .flat_map(|clause| &clause.predicates);
    quote!(where #(#own,)* #(#bounds,)*)
}

fn field_type<'a>(event: &'a Event<'_>, member: &Member) -> Option<&'a syn::Type> {
    let Data::Struct(data) = &event.input.data else {
        return None;
    };
    let field = match member {
        Member::Named(wanted) => data.fields.iter().find(|field| {
            field
                .ident
                .as_ref()
                .is_some_and(|ident| ident.unraw() == wanted.unraw())
        }),
        Member::Index(index, _) => data.fields.iter().nth(*index as usize),
    };
    field.map(|field| &field.ty)
}

fn mentions(tokens: TokenStream, parameters: &[&Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => parameters.contains(&&ident),
        TokenTree::Group(group) => mentions(group.stream(), parameters),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// An expression for the text of one field as it is, or of several, joined.
fn key_text(private: &TokenStream, prefix: &str, paths: &[FieldPath]) -> TokenStream {
    // An unfit type is blamed on the field's name in the attribute: these tokens stand there.
    let borrow = |path: &FieldPath| {
        let this = moved(quote!(&self.), path.first.span());
        quote!(#this #path)
    };
    if let [path] = paths {
        let part = borrow(path);
        return quote!(#private::key_of_one(#prefix, #part));
    }
    let parts = paths.iter().map(borrow);
    quote!(#private::KeyOfSeveral::new(#prefix) #(.part(#parts))* .finish())
}
