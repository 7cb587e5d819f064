//! The parts of [`Checker`](super::check::Checker) that have parts themselves.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::check::{Checked, Notes, Part};

/// An array or an object that is being written.
pub(super) struct Compound<'a, C> {
    inner: C,
    notes: &'a Notes,
    room: usize,
    /// The parts written so far, where parts have no names.
    index: usize,
    variant: Option<&'static str>,
}

impl<'a, C> Compound<'a, C> {
    #[inline]
    pub(super) fn new(
        inner: C,
        notes: &'a Notes,
        room: usize,
        variant: Option<&'static str>,
    ) -> Self {
        Self {
            inner,
            notes,
            room,
            index: 0,
            variant,
        }
    }

    #[inline]
    fn written<E>(
        &mut self,
        result: Result<(), E>,
        part: impl FnOnce(usize) -> Part,
    ) -> Result<(), E> {
        self.index += 1;
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = self.notes.inside(error, part(self.index - 1));
                Err(match self.variant {
                    Some(variant) => self.notes.inside(error, Part::Name(variant)),
                    None => error,
                })
            }
        }
    }
}

macro_rules! by_index {
    ($($trait:ident::$method:ident)*) => {$(
        impl<C: $trait> $trait for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let result = self.inner.$method(&Checked::new(value, self.notes, self.room));
                self.written(result, Part::Index)
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

by_index! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! by_name {
    ($($trait:ident)*) => {$(
        impl<C: $trait> $trait for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let result = self
                    .inner
                    .serialize_field(name, &Checked::new(value, self.notes, self.room));
                self.written(result, |_| Part::Name(name))
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

by_name! { SerializeStruct SerializeStructVariant }

impl<C: SerializeMap> SerializeMap for Compound<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner
            .serialize_key(&Checked::new(key, self.notes, self.room))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let result = self
            .inner
            .serialize_value(&Checked::new(value, self.notes, self.room));
        self.written(result, Part::Index)
    }

    #[inline]
    fn serialize_entry<K, V>(&mut self, key: &K, value: &V) -> Result<(), C::Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        self.serialize_key(key)?;
        let result = self
            .inner
            .serialize_value(&Checked::new(value, self.notes, self.room));
        self.written(result, |_| Part::Key(named(key)))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

/// The key as it stands in the JSON, without its quotes.
#[cold]
fn named<K: Serialize + ?Sized>(key: &K) -> String {
    let text = serde_json::to_string(key).unwrap_or_default();
    text.trim_matches('"').to_owned()
}
