//! The macro that turns the catalogue's rows into an enum, a static table and one typed constructor for each slug.

/// One row reads `Variant slug(fact = "example", ...) { layer status error; retry lasting fixer socks; wait; raised; texts }`.
/// The example values make the sentence in the documentation.
macro_rules! catalogue {
    ($(
        $variant:ident $name:ident ( $($fact:ident = $example:literal),* $(,)? ) {
            $layer:ident $status:literal $error:expr;
            $retry:ident, $lasting:ident, $fixer:ident, $socks:ident;
            wait $wait:expr;
            $seen:ident, $raised:expr;
            says $sentence:literal;
            $( with $param:literal = $value:literal; )*
            cause $cause:literal;
            fix $fix:literal;
        }
    )*) => {
        /// The stable name of one thing that can go wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Slug {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $sentence)]
                $variant,
            )*
        }

        impl Slug {
            /// Every slug, in the order of the catalogue; `ALL[slug.index()] == slug`.
            pub const ALL: &'static [Slug] = &[$(Slug::$variant),*];
        }

        static ROWS: [Row; Slug::COUNT] = [$(
            Row {
                slug: Slug::$variant,
                name: stringify!($name),
                layer: Layer::$layer,
                status: $status,
                error_type: $error,
                retry: Retry::$retry,
                lasting: Lasting::$lasting,
                fixer: Fixer::$fixer,
                socks: SocksReply::$socks,
                wait: $wait,
                seen: Seen::$seen,
                raised: $raised,
                sentence: $sentence,
                facts: &[$(stringify!($fact)),*],
                examples: &[$($example),*],
                params: &[$(($param, $value)),*],
                cause: $cause,
                fix: $fix,
            },
        )*];

        /// One constructor for each slug; its arguments are the facts that the sentence may show.
        pub mod raise {
            use super::Slug;
            use crate::{Fault, fact};
            use std::fmt::Display;

            $(
                #[doc = concat!("Raises `", stringify!($name), "`: ", $sentence)]
                pub fn $name($($fact: impl Display),*) -> Fault {
                    Fault::raise(Slug::$variant, vec![$(fact::render($fact)),*])
                }
            )*
        }
    };
}
