/* The scans that take sixteen or eight bytes at a time, beside ones that take one. */
#include "support/check.h"

#include "base/mem.h"
#include "base/rand.h"
#include "http/bytes.h"
#include "http/header.h"

enum { BYTES_MAX = 72, RUNS = 200000 };

/* Mostly what is common, so that scans come far; a block of its own size, so that a read beyond it shows. */
static char *random_bytes(mg_rand *rand, size_t n, const char *common)
{
    const size_t set = strlen(common);
    char *bytes = mg_alloc(n ? n : 1);

    for (size_t i = 0; i < n; i++)
        bytes[i] =
            mg_rand_below(rand, 12) ? common[mg_rand_below(rand, set)] : (char)mg_rand_below(rand, 256);
    return bytes;
}

static void names_end_and_are_lowered_as_byte_by_byte(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(11));
    for (unsigned run = 0; run < RUNS; run++) {
        const size_t n = 1 + mg_rand_below(&rand, BYTES_MAX);
        char *bytes = random_bytes(&rand, n, "abcxyzABCXYZ019-");
        bool odd = false, model_odd = false;
        size_t end = 0;

        bytes[n - 1] = mg_rand_below(&rand, 2) ? ':' : '\n'; /* what stands before `end` in any head */
        char *model = mg_memdup0(bytes, n);
        for (; mg_is_token(mg_str_make(model + end, 1)); end++) {
            const char c = mg_lower(model[end]);
            model[end] = c;
            model_odd |= !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
        }
        assert_ptr_equal(mg_field_name_end(bytes, bytes + n, &odd), bytes + end);
        assert_memory_equal(bytes, model, n);
        assert_int_equal(odd, model_odd);
        mg_free(model);
        mg_free(bytes);
    }
}

static void values_end_as_byte_by_byte(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(12));
    for (unsigned run = 0; run < RUNS; run++) {
        const size_t n = mg_rand_below(&rand, BYTES_MAX);
        char *bytes = random_bytes(&rand, n, "az AZ09~!\t\x80\xff");
        bool odd = false, model_odd = false;
        size_t end = 0;

        for (; end < n; end++) {
            const unsigned char c = (unsigned char)bytes[end];
            if ((c < 0x20 && c != '\t') || c == 0x7f)
                break;
            model_odd |= c == '\t' || c > 0x7f;
        }
        assert_ptr_equal(mg_field_value_end(bytes, bytes + n, &odd), bytes + end);
        assert_int_equal(odd, model_odd);
        mg_free(bytes);
    }
}

/* Where the first LF stands that an empty line follows; n when none does. */
static size_t first_end(const char *bytes, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (bytes[i] == '\n' &&
            (bytes[i + 1] == '\n' || (bytes[i + 1] == '\r' && i + 2 < n && bytes[i + 2] == '\n')))
            return i;
    return n;
}

static void no_end_of_a_head_is_passed(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(13));
    for (unsigned run = 0; run < RUNS; run++) {
        const size_t n = mg_rand_below(&rand, BYTES_MAX);
        char *bytes = random_bytes(&rand, n, run % 2 ? "abcdefgh\r\n" : "abcdefghijklmnopqrstuvwxyz\r\n");
        const size_t passed = (size_t)(mg_pass_full_lines(bytes, bytes + n) - bytes);

        assert_true(passed <= first_end(bytes, n));
        mg_free(bytes);
    }
}

static void blanks_alone_are_passed_by_sixteens(void **state)
{
    char bytes[64];
    (void)state;

    memset(bytes, ' ', sizeof bytes);
#ifdef __SSE2__
    assert_ptr_equal(mg_pass_full_lines(bytes, bytes + 63), bytes + 48);
#endif
    assert_true(mg_pass_full_lines(bytes, bytes + 15) == bytes);
}

/* How far a path is as its one form has it, byte by byte. */
static size_t plain_end(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((mg_byte_is(bytes[i], MG_BYTE_UNRESERVED) && bytes[i] != '~') || bytes[i] == '/') ||
            (i && bytes[i - 1] == '/' && (bytes[i] == '/' || bytes[i] == '.')))
            return i;
    return n;
}

static void plain_paths_are_passed_as_far_as_they_are_plain(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(14));
    for (unsigned run = 0; run < RUNS; run++) {
        const size_t n = mg_rand_below(&rand, BYTES_MAX);
        char *bytes =
            random_bytes(&rand, n, run % 2 ? "azAZ09-_./" : "abcdefghijklmnopqrstuvwxyzABCDEFGHXYZ019-_.");
        if (run % 4 == 0)
            for (size_t i = 0; i < n; i++)
                bytes[i] = mg_byte_is(bytes[i], MG_BYTE_UNRESERVED) ? bytes[i] : 'x';
        if (run % 8 == 0)
            for (size_t i = mg_rand_below(&rand, 20); i < n; i += 1 + mg_rand_below(&rand, 20))
                bytes[i] = '/';
        const size_t passed = (size_t)(mg_pass_plain_path(bytes, bytes + n) - bytes),
                     plain = plain_end(bytes, n);
#ifdef __SSE2__
        assert_int_equal(passed, n < 16 ? 0 : plain);
#else
        assert_true(passed <= plain);
#endif
        mg_free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_end_and_are_lowered_as_byte_by_byte),
        cmocka_unit_test(values_end_as_byte_by_byte),
        cmocka_unit_test(no_end_of_a_head_is_passed),
        cmocka_unit_test(blanks_alone_are_passed_by_sixteens),
        cmocka_unit_test(plain_paths_are_passed_as_far_as_they_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
