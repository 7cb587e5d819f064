use proc_macro2::TokenStream;
use quote::quote;

use crate::expand::{crate_path, where_clause, whole_type};
use crate::model::Model;

/// The mistakes, and beside them an impl without behaviour: code that uses the event is not to be
/// blamed a second time.
pub(crate) fn expand(model: &Model<'_>, errors: Option<TokenStream>) -> TokenStream {
    let krate = crate_path();
    let ident = &model.input.ident;
    let generics = &model.input.generics;
    let (impl_generics, ty_generics, _) = generics.split_for_impl();
    // A bound that mentions a lifetime of its own is not checked here but where the impl is used:
    // if serde's derives are missing too, that is the lesser mistake.
    let bound = whole_type(&krate, model.input, &quote!(for<'unchecked>));
    let where_clause = where_clause(generics, &[bound]);
    // Version 0 tells the next version's check that this one is under repair.
    let name = model.attributes.name.iter();
    let name = name
        .map(|name| quote!(#name))
        .next()
        .unwrap_or_else(|| quote!(""));
    let version = match (&model.attributes.name, model.attributes.version) {
        (Some(_), Some(version)) => version,
        _ => 0,
    };
    quote! {
        #errors

        #[automatically_derived]
        impl #impl_generics #krate::Event for #ident #ty_generics #where_clause {
            const NAME: &'static #krate::__private::str = #name;
            const VERSION: #krate::__private::u32 = #version;
        }
    }
}
