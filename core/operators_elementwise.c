/* Rows, builders and gradient rules of the elementwise operators, expanded from elementwise.def. */
#include <math.h>

#include "batch.h"
#include "fail.h"
#include "kernel_elementwise.h"
#include "operators.h"

/* --- what an elementwise operator does with its inputs -------------------------------------------------------- */

/* The dtype in which inputs meet: integers yield to floats, uint8 to all; two float types are an error, since a
 * silent conversion between them is what spoils second-order results. */
static dtype common_type(const operator *op, node *const *inputs, int count) {
    dtype type = UINT8;
    const node *decided_by = NULL;
    for (int i = 0; i < count; i++) {
        dtype t = inputs[i]->type;
        if (inputs[i]->weak) continue;
        if (dtype_is_float(t) && dtype_is_float(type) && t != type)
            fail(ERROR_DTYPE, "%s: %s of shape %s and %s of shape %s do not mix; convert one with :float() or :double()",
                 op->name, dtype_name(decided_by->type), shape_format(decided_by->shape).text, dtype_name(t),
                 shape_format(inputs[i]->shape).text);
        if (decided_by == NULL || dtype_is_float(t) || (t == INT64 && type == UINT8)) {
            type = t;
            decided_by = inputs[i];
        }
    }
    if (decided_by == NULL) return FLOAT64;
    if (type == UINT8) type = INT64;
    for (int i = 0; i < count && !dtype_is_float(type); i++)
        if (inputs[i]->weak) type = FLOAT32;
    return dtype_is_float(type) || op->kernels[type] != NULL ? type : FLOAT32;
}

static shape common_shape(const operator *op, node *const *inputs, int count) {
    shape s = inputs[0]->shape;
    for (int i = 1; i < count; i++) {
        shape wider;
        if (!shape_broadcast(s, inputs[i]->shape, &wider))
            fail(ERROR_SHAPE, "%s: shapes %s and %s do not fit together", op->name, shape_format(s).text,
                 shape_format(inputs[i]->shape).text);
        s = wider;
    }
    return s;
}

static node *elementwise(const operator *op, int arity, node *x, node *y, node *z, double p, double q) {
    node *inputs[3] = {x, y, z};
    int64_t attributes[2] = {attribute_from_number(p), attribute_from_number(q)};
    int conditions = arity == 3 ? 1 : 0; /* the first of three is a condition, whose dtype does not count */
    dtype type = common_type(op, inputs + conditions, arity - conditions);
    if (conditions > 0 && x->type != type) inputs[0] = op_ne(x, op_number_like(x, 0));
    shape s = common_shape(op, inputs, arity);
    bool all_weak = true;
    for (int i = 0; i < arity; i++) {
        all_weak = all_weak && (inputs[i]->weak || i < conditions);
        inputs[i] = op_expand(op_cast(inputs[i], type), s);
    }
    bool has_parameters = p != 0 || q != 0;
    node *result = node_new(op, type, s, arity, inputs, has_parameters ? 2 : 0, attributes);
    result->weak = all_weak;
    return result;
}

/* From outside: tensors first, then parameters, as the signature lists them. */
static node *build_elementwise(const operator *op, const argument *arguments) {
    node *inputs[3] = {NULL, NULL, NULL};
    double parameters[2] = {0, 0};
    int tensors = 0, numbers = 0;
    for (int i = 0; i < MAX_ARGUMENTS && arguments[i].given; i++)
        if (arguments[i].tensor != NULL) inputs[tensors++] = arguments[i].tensor;
        else parameters[numbers++] = arguments[i].number;
    return elementwise(op, tensors, inputs[0], inputs[1], inputs[2], parameters[0], parameters[1]);
}

/* --- parts of gradient rules ------------------------------------------------------------------------------------ */

static node *const NONE = NULL; /* not a macro, so that the rows below can see the word */

/* The factor times the gradient g, which begins as 1: then the factor itself, of which more is known (it may be padded). */
static node *op_scaled(node *factor, node *g) {
    bool is_one = is_filled_with(g, 1) && factor->type == g->type && shape_equal(factor->shape, g->shape);
    return is_one && !factor->weak ? factor : op_mul(g, factor);
}

/* What x gets of the gradient of maximum(x, y): 1 where it is larger, 1/2 where they are equal. */
static node *op_share(node *x, node *y) {
    return op_mul(op_add(op_ge(x, y), op_gt(x, y)), op_number_like(x, 0.5));
}

/* d/dx of x^y: y x^(y - 1), which at x = 0 and y = 0 is 0, not 0 times infinity. */
static node *op_pow_slope(node *x, node *y) {
    node *both_zero = op_mul(op_eq(x, op_number_like(x, 0)), op_eq(y, op_number_like(y, 0)));
    return op_mul(y, op_pow(op_where(both_zero, op_number_like(x, 1), x), op_sub(y, op_number_like(y, 1))));
}

/* d/dy of r = x^y: r log x, and 0 where x is 0. */
static node *op_pow_growth(node *r, node *x) {
    node *at_zero = op_eq(x, op_number_like(x, 0));
    node *growth = op_mul(r, op_log(op_where(at_zero, op_number_like(x, 1), x)));
    return op_where(at_zero, op_number_like(x, 0), growth);
}

static operator row_leaky_relu_slope; /* below, as all rows */

/* The slope of r = leaky_relu(x): 1 for positive x, else p. Of a positive p the result has the sign of x, which then needs no
 * memory of its own. */
static node *op_leaky_slope(node *x, node *r, double p) {
    return elementwise(&row_leaky_relu_slope, 1, p > 0 ? r : x, NULL, NULL, p, 0);
}

/* The slope of elu and selu: `right` for positive x, else left * e^x. */
static node *op_elu_slope(node *x, double left, double right) {
    node *zero = op_number_like(x, 0);
    return op_where(op_gt(x, zero), op_number_like(x, right),
                    op_mul(op_exp(op_minimum(x, zero)), op_number_like(x, left)));
}

/* d/dx of x Phi(x): Phi(x) + x phi(x). */
static node *op_gelu_slope(node *x) {
    node *half = op_number_like(x, 0.5);
    node *distribution = op_mul(half, op_add(op_erf(op_mul(x, op_number_like(x, 0.70710678118654752))), op_number_like(x, 1)));
    node *density = op_mul(op_exp(op_neg(op_mul(half, op_square(x)))), op_number_like(x, 0.3989422804014327));
    return op_add(distribution, op_mul(x, density));
}

/* --- the rows ------------------------------------------------------------------------------------------------------ */


#define GRADIENT_1(a) if (index == 0) return (a);
#define GRADIENT_2(a, b) if (index == 0) return (a); else return (b);
#define GRADIENT_3(a, b, c) if (index == 0) return (a); else if (index == 1) return (b); else return (c);
#define INPUT(i) (i < r->input_count ? r->inputs[i] : NULL)

#define ROW(arity, types, name, signature, value, gradients, ...)                                      \
    static node *gradient_##name(node *r, node *g, int index) {                                         \
        node *x = INPUT(0), *y = INPUT(1), *z = INPUT(2);                                               \
        double p = r->attribute_count > 0 ? attribute_to_number(r->attributes[0]) : 0;                  \
        double q = r->attribute_count > 1 ? attribute_to_number(r->attributes[1]) : 0;                  \
        (void)g, (void)x, (void)y, (void)z, (void)p, (void)q;                                           \
        GRADIENT_##arity gradients                                                                      \
        return NULL;                                                                                    \
    }
#include "elementwise.def"
#undef ROW

/* A row is differentiable unless its gradients say NONE for all inputs. */
#define IS_NONE_1(a) #a
#define IS_NONE_2(a, b) #a #b
#define IS_NONE_3(a, b, c) #a #b #c

#define ROW(arity_, types, name_, signature_, value, gradients, low, high, reference, doc_)                      \
    static operator row_##name_ = {.name = #name_, .signature = signature_, .doc = doc_,                          \
                                   .samples = #low " " #high " " reference, .kind = ELEMENTWISE,                  \
                                   .build = build_elementwise, .gradient = gradient_##name_,             \
                                   .batch = batch_leading};                     \
    __attribute__((constructor)) static void register_##name_(void) {                                            \
        static const char rules[] = IS_NONE_##arity_ gradients;                                                  \
        row_##name_.differentiable = rules[0] != 'N' || (arity_ == 3 && rules[4] != 'N');                       \
        for (int t = 0; t < DTYPE_COUNT; t++) row_##name_.kernels[t] = elementwise_kernels_##name_[t];            \
        operator_register(&row_##name_);                                                                         \
    }
#include "elementwise.def"
#undef ROW

/* --- builders ------------------------------------------------------------------------------------------------------ */

#define BUILDER_1(name) node *op_##name(node *x) { return elementwise(&row_##name, 1, x, NULL, NULL, 0, 0); }
#define BUILDER_2(name) node *op_##name(node *x, node *y) { return elementwise(&row_##name, 2, x, y, NULL, 0, 0); }
#define BUILDER_3(name) node *op_##name(node *x, node *y, node *z) { return elementwise(&row_##name, 3, x, y, z, 0, 0); }
#define ROW(arity, types, name, ...) BUILDER_##arity(name)
#include "elementwise.def"
