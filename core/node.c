#include "node.h"

#include <string.h>

#include "fail.h"
#include "memory.h"

/* Attributes live behind the node in the same allocation; inputs too. */
static size_t node_bytes(int input_count, int attribute_count) {
    return sizeof(node) + (size_t)input_count * sizeof(node *) + (size_t)attribute_count * sizeof(int64_t);
}

static void scoped_release(void *object) { node_release(object); }

static node *node_allocate(dtype type, shape s, int input_count, int attribute_count) {
    scope_reserve();
    node *n = memory_allocate(node_bytes(input_count, attribute_count), "a node of the graph");
    *n = (node){.references = 1, .type = type, .shape = s, .input_count = input_count,
                .attribute_count = attribute_count};
    n->attributes = (int64_t *)(n + 1);
    if (input_count > 0) n->inputs = (node **)(n->attributes + attribute_count);
    scope_add(n, scoped_release);
    return n;
}

node *node_new(const operator *op, dtype type, shape s, int input_count, node *const *inputs, int attribute_count,
               const int64_t *attributes) {
    node *n = node_allocate(type, s, input_count, attribute_count);
    n->op = op;
    n->depth = 1;
    for (int i = 0; i < input_count; i++) {
        n->inputs[i] = node_retain(inputs[i]);
        n->traces |= inputs[i]->traces;
        if (inputs[i]->depth >= n->depth) n->depth = inputs[i]->depth + 1;
    }
    if (attribute_count > 0) memcpy(n->attributes, attributes, (size_t)attribute_count * sizeof *attributes);
    return n;
}

node *node_constant(array value) {
    node *n = node_allocate(value.type, value.shape, 0, 0);
    n->value = array_retain(value);
    return n;
}

node *node_with_array(dtype type, shape s) {
    node *n = node_allocate(type, s, 0, 0);
    n->value = array_allocate(type, s);
    return n;
}

node *node_retain(node *n) {
    n->references++;
    return n;
}

/* Frees n and whatever only n kept alive: a loop over a chain of doomed nodes, since a graph may be deeper than the
 * stack. */
void node_release(node *n) {
    if (n == NULL || --n->references > 0) return;
    n->next_doomed = NULL;
    for (node *dead; (dead = n) != NULL;) {
        n = dead->next_doomed;
        for (int i = 0; dead->inputs != NULL && i < dead->input_count; i++) {
            node *input = dead->inputs[i];
            if (--input->references > 0) continue;
            input->next_doomed = n;
            n = input;
        }
        array_release(&dead->value);
        memory_release(dead, node_bytes(dead->input_count, dead->attribute_count));
    }
}

/* --- traces ------------------------------------------------------------------------------------------------ */

static int level_now;
static node_list kept; /* evaluated nodes whose inputs a trace keeps; each is retained */

static void list_reserve(node_list *list, int more) {
    if (list->count + more <= list->capacity) return;
    int capacity = 2 * (list->count + more) + 6;
    node **grown = memory_allocate((size_t)capacity * sizeof *grown, "a list of nodes");
    if (list->count > 0) memcpy(grown, list->nodes, (size_t)list->count * sizeof *grown);
    memory_release(list->nodes, (size_t)list->capacity * sizeof *grown);
    list->nodes = grown;
    list->capacity = capacity;
}

void node_list_push(node_list *list, node *n) {
    list_reserve(list, 1);
    list->nodes[list->count++] = n;
}

void node_reserve_values(int count) { list_reserve(&kept, count); }

node *node_skeleton(const node *n) {
    node *copy = node_allocate(n->type, n->shape, n->input_count, n->attribute_count);
    copy->op = n->op;
    copy->inputs = NULL;
    memcpy(copy->attributes, n->attributes, (size_t)n->attribute_count * sizeof *n->attributes);
    return copy;
}

static void node_detach(node *n) {
    node **inputs = n->inputs;
    n->inputs = NULL;
    for (int i = 0; i < n->input_count; i++) node_release(inputs[i]);
}

int trace_begin(void) {
    if (level_now == MAX_TRACES) fail(ERROR_STATE, "grad: more than %d gradients inside each other", MAX_TRACES);
    return ++level_now;
}

void trace_argument(node *n, int level) { n->traces |= UINT64_C(1) << (level - 1); }

int trace_level(void) { return level_now; }

static bool is_traced(const node *n) {
    return level_now > 0 && (n->traces & (UINT64_MAX >> (MAX_TRACES - level_now))) != 0;
}

void trace_end(int level) {
    level_now = level - 1;
    int remaining = 0, ended = 0;
    for (int i = 0; i < kept.count; i++) /* what outer traces still need moves to the front */
        if (is_traced(kept.nodes[i])) {
            node *stays = kept.nodes[i];
            kept.nodes[i] = kept.nodes[remaining];
            kept.nodes[remaining++] = stays;
        } else ended++;
    int count = remaining + ended;
    kept.count = remaining;
    for (int i = remaining; i < count; i++) {
        node *n = kept.nodes[i];
        if (n->inputs != NULL) node_detach(n);
        node_release(n);
    }
}

void node_set_value(node *n, array value) {
    bool keep = is_traced(n) && n->inputs != NULL;
    n->value = value;
    n->depth = 0;
    if (keep) node_list_push(&kept, node_retain(n));
    else if (n->inputs != NULL) node_detach(n);
}

/* --- sorting ----------------------------------------------------------------------------------------------- */

static uint64_t traversal;

static void list_release(void *object) {
    node_list *list = object;
    memory_release(list->nodes, (size_t)list->capacity * sizeof *list->nodes);
    memory_release(list, sizeof *list);
}

node_list *node_list_new(void) {
    scope_reserve();
    node_list *list = memory_allocate(sizeof *list, "a list of nodes");
    *list = (node_list){.nodes = NULL};
    scope_add(list, list_release);
    return list;
}

bool node_in_last_sort(const node *n) { return n->mark == traversal; }

static node_list stack; /* of node_sort */

static void list_clear(node_list *list) {
    if (list->count > 0) return;
    memory_release(list->nodes, (size_t)list->capacity * sizeof *list->nodes);
    *list = (node_list){.nodes = NULL};
}

void node_clear_lists(void) {
    stack.count = 0;
    list_clear(&stack);
    list_clear(&kept);
}

/* Depth-first without recursion. A node is pushed once to be opened and, below its inputs, once more to be listed
 * (number -1: opened, not yet listed). */
void node_sort(node_list *out, node *const *roots, int root_count, bool through_values) {
    traversal++;
    stack.count = 0;
    for (int i = root_count - 1; i >= 0; i--) node_list_push(&stack, roots[i]);
    while (stack.count > 0) {
        node *n = stack.nodes[stack.count - 1];
        if (n->mark == traversal) {
            stack.count--;
            if (n->number >= 0) continue;
            n->number = out->count;
            node_list_push(out, n);
            continue;
        }
        n->mark = traversal;
        n->number = -1;
        if (n->inputs == NULL || (node_has_value(n) && !through_values)) continue;
        for (int i = n->input_count - 1; i >= 0; i--)
            if (n->inputs[i]->mark != traversal) node_list_push(&stack, n->inputs[i]);
    }
}
