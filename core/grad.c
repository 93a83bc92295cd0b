#include "grad.h"

#include <string.h>

#include "fail.h"
#include "memory.h"
#include "operators.h"

/* The contributions to one node's gradient, gathered while its users are visited. */
typedef struct {
    node_list parts;
    bool wanted; /* does a path lead from here to an input? */
} slot;

typedef struct {
    slot *slots;
    int count;
} slot_table;

static void slots_release(void *object) {
    slot_table *table = object;
    for (int i = 0; i < table->count; i++)
        memory_release(table->slots[i].parts.nodes, (size_t)table->slots[i].parts.capacity * sizeof(node *));
    memory_release(table->slots, (size_t)table->count * sizeof *table->slots);
    memory_release(table, sizeof *table);
}

static slot_table *slots_new(int count) {
    scope_reserve();
    slot_table *table = memory_allocate(sizeof *table, "a gradient");
    *table = (slot_table){NULL, 0};
    scope_add(table, slots_release);
    table->slots = memory_allocate((size_t)count * sizeof *table->slots, "a gradient");
    table->count = count;
    memset(table->slots, 0, (size_t)count * sizeof *table->slots);
    return table;
}

static bool is_flat_piece(const node *n) {
    return op_is(n, "pad") && n->inputs != NULL && n->shape.rank == 1 &&
           (n->attributes[1] == 1 || n->inputs[0]->shape.size[0] <= 1);
}
static int64_t piece_begin(const node *n) { return n->attributes[0]; }
static int64_t piece_end(const node *n) { return n->attributes[0] + n->inputs[0]->shape.size[0]; }

/* The gradient of a flat theta is a sum of pieces that do not overlap, one for each slice that a layer took: the sum
 * is their concatenation, which the plan lets the layers' gradients write into directly. NULL when they overlap. */
static node *join_flat_pieces(const node_list *list) {
    node **parts = list->nodes;
    for (int i = 0; i < list->count; i++)
        if (!is_flat_piece(parts[i])) return NULL;
    for (int i = 1; i < list->count; i++) { /* insertion sort by place: layers come nearly sorted */
        node *moving = parts[i];
        int j = i;
        for (; j > 0 && piece_begin(parts[j - 1]) > piece_begin(moving); j--) parts[j] = parts[j - 1];
        parts[j] = moving;
    }
    node_list *pieces = node_list_new();
    int64_t at = 0, total = parts[0]->shape.size[0];
    for (int i = 0; i <= list->count; i++) {
        int64_t begin = i < list->count ? piece_begin(parts[i]) : total;
        if (begin < at) return NULL;
        if (begin > at) node_list_push(pieces, op_full((shape){1, {begin - at}}, parts[0]->type, 0));
        if (i == list->count) break;
        if (piece_end(parts[i]) > begin) node_list_push(pieces, parts[i]->inputs[0]);
        at = piece_end(parts[i]);
    }
    return pieces->count == 0 ? NULL : op_concat(pieces->nodes, pieces->count, 0);
}

static node *total(const node_list *list) {
    node *sum = list->count > 1 ? join_flat_pieces(list) : NULL;
    if (sum != NULL) return sum;
    sum = list->nodes[0];
    for (int i = 1; i < list->count; i++) sum = op_add(sum, list->nodes[i]);
    return sum;
}

static void visit(node *n, slot_table *table) {
    node *g = total(&table->slots[n->number].parts);
    table->slots[n->number].parts.nodes[0] = g;
    table->slots[n->number].parts.count = 1;
    if (n->inputs == NULL || !n->op->differentiable) return;
    for (int i = 0; i < n->input_count; i++) {
        node *input = n->inputs[i];
        if (!table->slots[input->number].wanted) continue;
        node *part = n->op->gradient(n, g, i);
        if (part != NULL && !is_filled_with(part, 0)) node_list_push(&table->slots[input->number].parts, part);
    }
}

void grad_sweep(node *y, node *seed, int input_count, node *const *inputs, node **gradients) {
    if (!dtype_is_float(y->type)) fail(ERROR_DTYPE, "grad: a result of dtype %s has no gradient", dtype_name(y->type));
    if (seed == NULL && shape_elements(y->shape) != 1)
        fail(ERROR_SHAPE, "grad: the function must return a single number, not shape %s", shape_format(y->shape).text);
    if (seed == NULL) seed = op_full(y->shape, y->type, 1);
    node_list *order = node_list_new();
    node_sort(order, &y, 1, true);
    slot_table *table = slots_new(order->count);
    for (int i = 0; i < input_count; i++)
        if (node_in_last_sort(inputs[i])) table->slots[inputs[i]->number].wanted = true;
    for (int i = 0; i < order->count; i++) {
        const node *n = order->nodes[i];
        for (int k = 0; n->inputs != NULL && k < n->input_count; k++)
            if (table->slots[n->inputs[k]->number].wanted) table->slots[i].wanted = true;
    }
    if (table->slots[y->number].wanted) node_list_push(&table->slots[y->number].parts, seed);
    for (int i = order->count - 1; i >= 0; i--)
        if (table->slots[i].parts.count > 0) visit(order->nodes[i], table);
    for (int i = 0; i < input_count; i++) {
        const slot *s = node_in_last_sort(inputs[i]) ? &table->slots[inputs[i]->number] : NULL;
        gradients[i] = s != NULL && s->parts.count > 0 ? s->parts.nodes[0]
                                                       : op_full(inputs[i]->shape, inputs[i]->type, 0);
    }
}
