use proc_macro2::TokenStream;
use quote::ToTokens;

/// Everything that is wrong with one item, in the order it was found.
#[derive(Default)]
pub(crate) struct Mistakes(Vec<syn::Error>);

impl Mistakes {
    /// Notes a mistake on these tokens, first to last.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// One `compile_error!` per mistake; `None` when there is none.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0
            .into_iter()
            .map(|error| error.to_compile_error())
            .reduce(|mut all, next| {
                all.extend(next);
                all
            })
    }
}
