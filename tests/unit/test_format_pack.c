/* The reader of MessagePack against msgpack-c, which stands for the specification. */
#include "unit.h"

#include "format/pack.h"

static sl_buf buf;

static unpack packed(void (*pack)(msgpack_packer *, const void *), const void *value) {
  msgpack_packer pk;
  sl_buf_reset(&buf);
  pack_init(&pk, &buf);
  pack(&pk, value);
  assert_false(buf.failed);
  return unpack_of(sl_buf_slice(&buf));
}

static void put_uint(msgpack_packer *pk, const void *v) { pack_uint(pk, *(const uint64_t *)v); }
static void put_int(msgpack_packer *pk, const void *v) { pack_int(pk, *(const int64_t *)v); }

static void integers_around_every_width(void **state) {
  (void)state;
  for (int bit = 0; bit < 64; bit++)
    for (int delta = -2; delta <= 2; delta++) {
      uint64_t u = (UINT64_C(1) << bit) + (uint64_t)(int64_t)delta, u_back = 0;
      unpack in = packed(put_uint, &u);
      assert_true(unpack_uint(&in, &u_back) && u_back == u && unpack_left(&in) == 0);
      for (int sign = 0; sign < 2; sign++) {
        int64_t i = (int64_t)(sign ? 0 - u : u), i_back = 0;
        in = packed(put_int, &i);
        assert_true(unpack_int(&in, &i_back) && i_back == i && unpack_left(&in) == 0);
        if (i < 0) {
          in = unpack_of(sl_buf_slice(&buf));
          assert_false(unpack_uint(&in, &u_back));
        }
      }
    }
}

static void only_the_shortest_form(void **state) {
  (void)state;
  static const struct { const char *bytes; size_t len; } rows[] = {
    {"\xcc\x7f", 2}, {"\xcd\x00\xff", 3}, {"\xce\x00\x00\xff\xff", 5}, {"\xcf\0\0\0\0\xff\xff\xff\xff", 9},
    {"\xd0\x05", 2}, {"\xd0\xe0", 2}, {"\xd1\xff\x80", 3}, {"\xd2\xff\xff\x80\x00", 5},
    {"\xd3\xff\xff\xff\xff\x80\x00\x00\x00", 9}, {"\xd3\0\0\0\0\0\0\0\x01", 9}, {"\xd9\x01" "a", 3},
    {"\xda\x00\x01" "a", 4}, {"\xdb\0\0\0\x01" "a", 6}, {"\xc5\x00\x01" "a", 4}, {"\xc6\0\0\0\x01" "a", 6},
    {"\xdc\x00\x01\x00", 4}, {"\xdd\0\0\0\x01\x00", 6}, {"\xde\x00\x01\x00\x00", 5},
    {"\xdf\0\0\0\x01\x00\x00", 7}, {"\xc0", 1}, {"\xc2", 1}, {"\xca\0\0\0\0", 5}, {"\xc7\x01\x01\x01", 4},
    {"\xd4\x01\x01", 3}, {"\xc1", 1}, {"", 0}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    unpack in = unpack_of(SL_BYTES(rows[i].bytes, rows[i].len));
    uint64_t u;
    int64_t n;
    sl_slice s;
    uint32_t c;
    if (unpack_uint(&in, &u) || unpack_int(&in, &n) || unpack_text(&in, &s) || unpack_bytes(&in, &s) ||
        unpack_array(&in, &c) || unpack_map(&in, &c))
      fail_msg("row %zu was taken", i);
    assert_int_equal(unpack_left(&in), rows[i].len);
  }
}

static void texts_and_bytes_of_every_width(void **state) {
  (void)state;
  static const size_t lens[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 70000};
  char *data = calloc(1, 70000);
  for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
    for (int bin = 0; bin < 2; bin++) {
      msgpack_packer pk;
      sl_buf_reset(&buf);
      pack_init(&pk, &buf);
      sl_slice in_slice = {data, lens[i]}, out = {0};
      (bin ? pack_bytes : pack_text)(&pk, in_slice);
      for (size_t cut = buf.len < 400 ? 0 : buf.len - 5; cut < buf.len; cut++) {
        unpack in = unpack_of(SL_BYTES(buf.data, cut));
        assert_false((bin ? unpack_bytes : unpack_text)(&in, &out));
        assert_false(unpack_skip(&in));
      }
      unpack in = unpack_of(sl_buf_slice(&buf)), skip = in;
      assert_false((bin ? unpack_text : unpack_bytes)(&in, &out));
      assert_true((bin ? unpack_bytes : unpack_text)(&in, &out));
      assert_true(sl_slice_eq(out, in_slice) && unpack_left(&in) == 0);
      assert_true(unpack_skip(&skip) && unpack_left(&skip) == 0);
    }
  free(data);
}

static void pack_any(msgpack_packer *pk, int depth) {
  static const char data[70000];
  static const size_t lens[] = {0, 1, 2, 4, 8, 16, 17, 40, 300, 66000};
  size_t len = lens[random_below(sizeof lens / sizeof *lens)];
  switch (random_below(depth > 0 ? 11 : 9)) {
    case 0: msgpack_pack_nil(pk); break;
    case 1: msgpack_pack_true(pk); break;
    case 2: msgpack_pack_uint64(pk, random_next() >> random_below(64)); break;
    case 3: msgpack_pack_int64(pk, (int64_t)random_next() >> random_below(64)); break;
    case 4: msgpack_pack_float(pk, 1.5f); break;
    case 5: msgpack_pack_double(pk, 1.5); break;
    case 6: pack_text(pk, SL_BYTES(data, len)); break;
    case 7: pack_bytes(pk, SL_BYTES(data, len)); break;
    case 8: msgpack_pack_ext_with_body(pk, data, len, 5); break;
    case 9: {
      size_t n = random_below(20);
      msgpack_pack_array(pk, n);
      while (n-- > 0) pack_any(pk, depth - 1);
      break;
    }
    default: {
      size_t n = random_below(20);
      msgpack_pack_map(pk, n);
      while (n-- > 0) {
        pack_any(pk, 0);
        pack_any(pk, depth - 1);
      }
    }
  }
}

static void steps_over_anything(void **state) {
  (void)state;
  random_seed();
  for (int i = 0; i < 3000; i++) {
    msgpack_packer pk;
    sl_buf_reset(&buf);
    pack_init(&pk, &buf);
    pack_any(&pk, 3);
    size_t len = buf.len;
    unpack in = unpack_of(sl_buf_slice(&buf));
    assert_true(unpack_skip(&in));
    assert_int_equal(unpack_left(&in), 0);
    in = unpack_of(SL_BYTES(buf.data, len - 1));
    assert_false(unpack_skip(&in));
    in = unpack_of(SL_BYTES(buf.data, random_below(len)));
    assert_false(unpack_skip(&in));
  }
  /* as deep as one likes, and counts that no memory could hold */
  sl_buf_reset(&buf);
  for (int i = 0; i < 1000000; i++) sl_buf_append(&buf, "\x91", 1);
  unpack in = unpack_of(sl_buf_slice(&buf));
  assert_false(unpack_skip(&in));
  sl_buf_append(&buf, "\xc0", 1);
  in = unpack_of(sl_buf_slice(&buf));
  assert_true(unpack_skip(&in));
  sl_buf_reset(&buf);
  for (int i = 0; i < 1000; i++) sl_buf_append(&buf, "\xdf\xff\xff\xff\xff\x00", 6);
  in = unpack_of(sl_buf_slice(&buf));
  assert_false(unpack_skip(&in));
}

static int tear_down(void **state) {
  (void)state;
  sl_buf_free(&buf);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(integers_around_every_width),
    cmocka_unit_test(only_the_shortest_form),
    cmocka_unit_test(texts_and_bytes_of_every_width),
    cmocka_unit_test(steps_over_anything)};
  return cmocka_run_group_tests_name("MessagePack", tests, NULL, tear_down);
}
