//! The attribute `observed`, for `ff-telemetry`: it wraps the body of every asynchronous method of
//! an implementation. It knows the methods' names and nothing of what they do.

use proc_macro::TokenStream;
use quote::quote;
use syn::{ImplItem, ItemImpl, ReturnType, parse_macro_input, parse_quote};

/// Observes every asynchronous method of an implementation as the operation of its name: its body
/// becomes a future that `ff_telemetry::observe` awaits. A new method is observed without a word.
///
/// The attribute stands before `#[async_trait]`.
#[proc_macro_attribute]
pub fn observed(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut implementation = parse_macro_input!(item as ItemImpl);

    for item in &mut implementation.items {
        let ImplItem::Fn(method) = item else { continue };
        if method.sig.asyncness.is_none() {
            continue;
        }

        let (name, body) = (method.sig.ident.to_string(), &method.block);
        let answer = match &method.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, answer) => quote!(#answer),
        };
        method.block = parse_quote!({
            ::ff_telemetry::observe::<#answer, _>(
                ::ff_telemetry::operation!(#name),
                async move #body,
            )
            .await
        });
    }
    quote!(#implementation).into()
}
