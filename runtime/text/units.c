/* units.c - numbers with units. A number is kept as whole and thousandths, so that 1.5s is exact. */
#include "text/units.h"
#include "base/mem.h"
#include "base/time.h"

typedef struct unit {
    const char *name;
    uint64_t size; /* of one, in the smallest unit of its kind */
} unit;

static const unit durations[] = {
    { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }
};
static const unit sizes[] = { { "B", 1 }, { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 } };
static const unit periods[] = {
    { "s", MG_NS_PER_S }, { "m", 60 * MG_NS_PER_S }, { "h", 3600 * MG_NS_PER_S }, { "d", 86400 * MG_NS_PER_S }
};

enum { MAX_TEXT = 40, SCALE = 1000 };

static uint64_t mul_sat(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* Cuts "12.345" off the front of *text as 12345 thousandths; false when there is none or it is finer. */
static bool cut_number(mg_str *text, uint64_t *thousandths)
{
    uint64_t value = 0, step = SCALE;
    size_t i = 0;

    while (i < text->n && text->p[i] >= '0' && text->p[i] <= '9')
        value = mg_add_sat(mul_sat(value, 10), (uint64_t)(text->p[i++] - '0'));
    if (i == 0)
        return false;
    value = mul_sat(value, SCALE);
    if (i + 1 < text->n && text->p[i] == '.' && text->p[i + 1] >= '0' && text->p[i + 1] <= '9') {
        for (i++; i < text->n && text->p[i] >= '0' && text->p[i] <= '9'; i++) {
            if (step == 1)
                return false;
            step /= 10;
            value = mg_add_sat(value, (uint64_t)(text->p[i] - '0') * step);
        }
    }
    *thousandths = value;
    *text = mg_str_sub(*text, i, text->n);
    return true;
}

static const unit *find_unit(mg_str name, const unit *units, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (mg_str_eq_c(name, units[i].name))
            return &units[i];
    }
    return NULL;
}

/* units of `unit` in thousandths to the smallest unit, rounded up: 0.5ms is no 0ms. */
static uint64_t scaled(uint64_t thousandths, uint64_t size)
{
    const uint64_t product = mul_sat(thousandths, size);
    return product == UINT64_MAX ? product : product / SCALE + (product % SCALE != 0);
}

static mg_result measure(mg_str text, const unit *units, size_t count, const char *want, uint64_t *out,
                         mg_error *err)
{
    uint64_t thousandths;
    const unit *u;
    mg_str rest = text;

    if (text.n > MAX_TEXT || !cut_number(&rest, &thousandths))
        return mg_fail(err, MG_ERR_INVALID, "\"%.*s\" is not %s", (int)(text.n > 60 ? 60 : text.n), text.p,
                       want);
    if (rest.n == 0)
        return mg_fail(err, MG_ERR_INVALID, "%.*s has no unit", MG_STR_ARGS(text));
    u = find_unit(rest, units, count);
    if (!u)
        return mg_fail(err, MG_ERR_INVALID, "\"%.*s\" is not the unit of %s", MG_STR_ARGS(rest), want);
    *out = scaled(thousandths, u->size);
    return MG_OK;
}

mg_result mg_units_duration(mg_str text, uint64_t *ms, mg_error *err)
{
    return measure(text, durations, mg_countof(durations), "a duration", ms, err);
}

mg_result mg_units_size(mg_str text, uint64_t *bytes, mg_error *err)
{
    return measure(text, sizes, mg_countof(sizes), "a size", bytes, err);
}

mg_result mg_units_rate(mg_str text, mg_rate *rate, mg_error *err)
{
    mg_str rest = text, count = MG_STR_NONE;
    const unit *period;

    if (text.n > MAX_TEXT || !mg_str_cut(&rest, '/', &count) || !mg_str_u64(count, &rate->limit))
        return mg_fail(err, MG_ERR_INVALID, "\"%.*s\" is not a rate", (int)(text.n > 60 ? 60 : text.n),
                       text.p);
    if (count.n == text.n)
        return mg_fail(err, MG_ERR_INVALID, "%.*s has no unit", MG_STR_ARGS(text));
    period = find_unit(rest, periods, mg_countof(periods));
    if (!period)
        return mg_fail(err, MG_ERR_INVALID, "\"/%.*s\" is not the unit of a rate", MG_STR_ARGS(rest));
    rate->period_ns = period->size;
    return MG_OK;
}

mg_result mg_units_share(mg_str text, uint32_t *basis_points, mg_error *err)
{
    uint64_t thousandths;
    mg_str rest = text;

    if (text.n > MAX_TEXT || !cut_number(&rest, &thousandths) || (rest.n > 0 && !mg_str_eq_c(rest, "%")))
        return mg_fail(err, MG_ERR_INVALID, "\"%.*s\" is not a share", (int)(text.n > 60 ? 60 : text.n),
                       text.p);
    if (rest.n == 0)
        return mg_fail(err, MG_ERR_INVALID, "%.*s has no unit", MG_STR_ARGS(text));
    if (thousandths % 10 != 0 && thousandths != UINT64_MAX)
        return mg_fail(err, MG_ERR_INVALID, "%.*s is finer than 0.01%%", MG_STR_ARGS(text));
    *basis_points = (uint32_t)mg_min_u64(thousandths / 10, UINT32_MAX);
    return MG_OK;
}

static void largest(uint64_t value, const unit *units, size_t count, mg_text *out)
{
    size_t i = count - 1;

    while (i > 0 && (value == 0 || value % units[i].size != 0))
        i--;
    mg_text_addf(out, "%llu%s", (unsigned long long)(value / units[i].size), units[i].name);
}

void mg_units_duration_text(uint64_t ms, mg_text *out)
{
    if (ms == 0)
        mg_text_add_c(out, "0s");
    else
        largest(ms, durations, mg_countof(durations), out);
}
