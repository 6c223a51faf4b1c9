package storetest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// filler gives every member a value that is not zero and that no other member
// has. An engine that forgets a member, one added later too, loses its value.
type filler struct{ n int }

func fill[T any](f *filler) T {
	var v T
	f.value(reflect.ValueOf(&v).Elem())
	return v
}

func (f *filler) value(v reflect.Value) {
	f.n++
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = noon.Add(time.Duration(f.n) * time.Microsecond)
		return
	case *json.RawMessage:
		*p = fmt.Appendf(nil, `{ "n" : %d.0 }`, f.n)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int64:
		v.SetInt(int64(f.n%100) + 1)
		if v.Kind() == reflect.Int64 {
			v.SetInt(1<<62 + int64(f.n)) // does not fit a float
		}
	case reflect.Uint8:
		v.SetUint(uint64(f.n%255) + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.value(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f.value(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			f.value(v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.value(key)
		f.value(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Array:
		for i := range v.Len() {
			f.value(v.Index(i))
		}
	default:
		panic(fmt.Sprintf("no value for %s", v.Type()))
	}
}
