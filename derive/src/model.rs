use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{DeriveInput, LitStr, TypePath};

/// What the user wrote, before anything is judged.
pub(crate) struct Model<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) attributes: Attributes,
}

/// The values of all `#[event(…)]` attributes on the item. A value that could not be read is
/// absent here, but its key is among the `seen`.
#[derive(Default)]
pub(crate) struct Attributes {
    /// Where the first attribute stands: missing values are reported there.
    pub(crate) span: Option<Span>,
    pub(crate) seen: Vec<Setting>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) key: Option<Vec<FieldPath>>,
    pub(crate) id: Option<Vec<FieldPath>>,
    pub(crate) topic: Option<LitStr>,
    pub(crate) source: Option<LitStr>,
    pub(crate) upcast_from: Option<TypePath>,
}

/// The keys of `#[event(…)]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Name,
    Version,
    Key,
    Id,
    Topic,
    Source,
    UpcastFrom,
}

impl Setting {
    pub(crate) const ALL: [Self; 7] = [
        Self::Name,
        Self::Version,
        Self::Key,
        Self::Id,
        Self::Topic,
        Self::Source,
        Self::UpcastFrom,
    ];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == text)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Version => "version",
            Self::Key => "key",
            Self::Id => "id",
            Self::Topic => "topic",
            Self::Source => "source",
            Self::UpcastFrom => "upcast_from",
        }
    }

    /// How it is written, for messages.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Name => "name = \"order.placed\"",
            Self::Version => "version = 1",
            Self::Key => "key = order_id",
            Self::Id => "id = order_id",
            Self::Topic => "topic = \"orders\"",
            Self::Source => "source = \"order-service\"",
            Self::UpcastFrom => "upcast_from = OrderPlacedV1",
        }
    }
}

/// A field of the event, or a field inside one: `order_id`, `customer.id`, `0`.
pub(crate) struct FieldPath {
    pub(crate) first: Member,
    pub(crate) rest: Vec<Member>,
}

impl ToTokens for FieldPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { first, rest } = self;
        tokens.extend(quote!(#first #(.#rest)*));
    }
}

impl FieldPath {
    /// The path as text, which tells equal paths from others.
    pub(crate) fn text(&self) -> String {
        let mut text = self.first.text();
        for member in &self.rest {
            text.push('.');
            text.push_str(&member.text());
        }
        text
    }
}

/// A named field, or a field of a tuple by its place.
pub(crate) enum Member {
    Named(Ident),
    Index(u32, Span),
}

impl Member {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Named(ident) => ident.span(),
            Self::Index(_, span) => *span,
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Named(ident) => ident.to_string(),
            Self::Index(index, _) => index.to_string(),
        }
    }
}

impl ToTokens for Member {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Named(ident) => ident.to_tokens(tokens),
            Self::Index(index, span) => {
                let mut literal = Literal::u32_unsuffixed(*index);
                literal.set_span(*span);
                literal.to_tokens(tokens);
            }
        }
    }
}

/// An event without mistakes: all that the impl needs.
pub(crate) struct Event<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) attributes: &'a Attributes,
    pub(crate) name: &'a LitStr,
    pub(crate) version: u32,
}
