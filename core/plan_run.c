/* Running plans, the shared workspace, and evaluation of pending nodes through a cache of plans. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fail.h"
#include "kernels.h"
#include "memory.h"
#include "plan_blocks.h"
#include "pool.h"

plan *plan_build(const node_list *order, node *const *outputs, int output_count, const int *donors) {
    node **wanted = memory_scoped((size_t)output_count * sizeof *wanted, "a plan");
    memcpy(wanted, outputs, (size_t)output_count * sizeof *wanted);
    order = blocks_form(order, wanted, output_count);
    return plan_schedule(plan_graph_import(order, wanted, output_count, donors));
}

plan *plan_retain(plan *p) {
    p->references++;
    return p;
}

static void drop_kept_values(plan *p) {
    for (int k = 0; k < p->kept_count; k++) array_release(&p->kept_values[k]);
}

void plan_release(plan *p) {
    if (p == NULL || --p->references > 0) return;
    drop_kept_values(p);
    for (int k = 0; k < p->instruction_count; k++)
        memory_release(p->instructions[k].program, sizeof *p->instructions[k].program);
    for (int k = 0; k < p->skeleton_count; k++) node_release(p->skeletons[k]);
    for (int k = 0; k < p->inner_count; k++) plan_release(p->inner[k]);
    memory_release(p->storages, p->capacity_items * sizeof *p->storages);
    memory_release(p->bases, p->capacity_items * sizeof *p->bases);
    memory_release(p->instructions, p->capacity_items * sizeof *p->instructions);
    memory_release(p->skeletons, p->capacity_items * sizeof *p->skeletons);
    memory_release(p->inner, p->capacity_items * sizeof *p->inner);
    memory_release(p->operands, p->capacity_operands * sizeof *p->operands);
    memory_release(p->operand_storages, p->capacity_operands * sizeof *p->operand_storages);
    memory_release(p->outputs, p->capacity_outputs * sizeof *p->outputs);
    memory_release(p->kept, p->capacity_outputs * sizeof *p->kept);
    memory_release(p->kept_values, p->capacity_outputs * sizeof *p->kept_values);
    memory_release(p, sizeof *p);
}

/* --- the workspace: one for all plans, since only one runs at a time -------------------------------------------------- */

static char *workspace;
static size_t workspace_bytes;

static void workspace_reserve(size_t bytes) {
    if (bytes <= workspace_bytes) return;
    memory_release(workspace, workspace_bytes);
    workspace = NULL;
    workspace_bytes = 0;
    workspace = memory_allocate(bytes, "the workspace of a computation");
    workspace_bytes = bytes;
}

/* --- before and after a run -------------------------------------------------------------------------------------------- */

static void find_bases(plan *p, const array *leaves) {
    for (int k = 0; k < p->kept_count; k++) {
        const kept_array *kept = &p->kept[k];
        bool alone = kept->donor >= 0 && leaves[kept->donor].storage->references == 1;
        if (!alone) p->kept_values[k] = array_allocate(kept->type, kept->shape);
        else {
            p->kept_values[k] = array_retain(leaves[kept->donor]);
            p->kept_values[k].shape = kept->shape;
            shape_strides(kept->shape, p->kept_values[k].strides);
        }
    }
    for (int s = 0; s < p->storage_count; s++) {
        const storage *at = &p->storages[s];
        p->bases[s] = at->home == HOME_LEAF   ? array_data(&leaves[at->place])
                      : at->home == HOME_KEPT ? array_data(&p->kept_values[at->place])
                                              : workspace + at->place;
    }
}

static array output_array(plan *p, const plan_output *out, const array *leaves) {
    const storage *at = &p->storages[out->storage];
    const array *source = at->home == HOME_LEAF ? &leaves[at->place] : &p->kept_values[at->place];
    array a = array_retain(*source);
    a.shape = out->look.shape;
    memcpy(a.strides, out->look.strides, sizeof a.strides);
    a.offset += out->look.offset;
    return a;
}

/* A run that fails halfway holds on to nothing. */
static void run_over(void *object) {
    plan *p = object;
    pool_end_early(false);
    drop_kept_values(p);
    plan_release(p);
}

/* --- timing: the plans that ran since it began, owned ------------------------------------------------------------------- */

static bool timing;
static plan *first_timed;
static char *timing_text;

static int64_t nanoseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void keep_fastest(int64_t *nanoseconds, int64_t now, int64_t runs_before) {
    if (runs_before == 0 || now < *nanoseconds) *nanoseconds = now;
}

static void forget_timed(void) {
    for (plan *p; (p = first_timed) != NULL; plan_release(p)) {
        first_timed = p->next_timed;
        p->timed_runs = 0;
    }
}

void plan_timing_begin(void) {
    forget_timed();
    free(timing_text);
    timing_text = NULL;
    timing = true;
}

static void add_timed(plan *p) {
    if (p->timed_runs++ > 0) return;
    p->next_timed = first_timed;
    first_timed = plan_retain(p);
}

/* --- running ----------------------------------------------------------------------------------------------------------- */

static void run_instruction(const instruction *now, const operand *all) {
    const operand *operands = all + now->operand_begin;
    if (now->program != NULL) fused_run(now->program, operands);
    else now->run(now->call, operands, operands + now->operand_count - 1);
}

/* What is stoppable has not yet overwritten a leaf: there an interrupt ends the run, within an instruction too. */
static void run_instructions(const plan *p, int begin, int end, bool stoppable) {
    pool_end_early(stoppable);
    for (int k = begin; k < end; k++) {
        int64_t started = timing ? nanoseconds_now() : 0;
        if (stoppable) interrupt_check();
        run_instruction(&p->instructions[k], p->operands);
        if (timing) keep_fastest(&p->instructions[k].nanoseconds, nanoseconds_now() - started, p->timed_runs);
    }
    if (stoppable) interrupt_check();
    pool_end_early(false);
}

void plan_run(plan *p, const array *leaves, array *outputs) {
    int64_t started = timing ? nanoseconds_now() : 0;
    scope_reserve();
    scope_add(plan_retain(p), run_over);
    workspace_reserve(p->scratch_bytes);
    find_bases(p, leaves);
    for (int k = 0; k < p->operand_count; k++)
        p->operands[k].data = p->bases[p->operand_storages[k]] +
                              p->operands[k].offset * (int64_t)dtype_bytes(p->operands[k].type);
    run_instructions(p, 0, p->stoppable_count, true);
    run_instructions(p, p->stoppable_count, p->instruction_count, false);
    for (int o = 0; o < p->output_count; o++) outputs[o] = output_array(p, &p->outputs[o], leaves);
    drop_kept_values(p);
    if (!timing) return;
    keep_fastest(&p->nanoseconds, nanoseconds_now() - started, p->timed_runs);
    add_timed(p);
}

static size_t rounded_to_line(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* In a room: leaves [leaf_count], kept arrays [kept_count], bases [storage_count], operands [operand_count], workspace. */
static size_t workspace_in_room(const plan *p) {
    size_t addresses = (size_t)(p->leaf_count + p->kept_count + p->storage_count) * sizeof(char *);
    return rounded_to_line(addresses + (size_t)p->operand_count * sizeof *p->operands);
}

size_t plan_room(const plan *p) { return workspace_in_room(p) + rounded_to_line(p->scratch_bytes); }

int plan_kept(const plan *p, int output) { return (int)p->storages[p->outputs[output].storage].place; }

void plan_run_block(const plan *p, char *room) {
    char **leaves = (char **)(void *)room, **kept = leaves + p->leaf_count, **bases = kept + p->kept_count;
    operand *operands = (operand *)(void *)(bases + p->storage_count);
    for (int s = 0; s < p->storage_count; s++) {
        const storage *at = &p->storages[s];
        bases[s] = at->home == HOME_LEAF   ? leaves[at->place]
                   : at->home == HOME_KEPT ? kept[at->place]
                                           : room + workspace_in_room(p) + at->place;
    }
    memcpy(operands, p->operands, (size_t)p->operand_count * sizeof *operands);
    for (int k = 0; k < p->operand_count; k++)
        operands[k].data = bases[p->operand_storages[k]] + operands[k].offset * (int64_t)dtype_bytes(operands[k].type);
    for (int k = 0; k < p->instruction_count && !pool_ends(); k++) run_instruction(&p->instructions[k], operands);
}

/* --- plans as text ----------------------------------------------------------------------------------------------------- */

static void describe_calls(const plan *p, const char *indent, FILE *out) {
    for (int k = 0; k < p->instruction_count; k++) {
        const instruction *now = &p->instructions[k];
        const operand *result = &p->operands[now->operand_begin + now->operand_count - 1];
        const char *name = now->program != NULL ? "fused" : now->call != NULL && now->run == now->call->op->run ? now->call->op->name : "copy";
        const plan *inner = now->call != NULL ? blocks_plan(now->call) : NULL;
        if (p->timed_runs > 0) fprintf(out, "%9.2f us  ", (double)now->nanoseconds * 1e-3);
        fprintf(out, "%s%s -> %s %s", indent, name, dtype_name(result->type), shape_format(result->shape).text);
        if (now->program != NULL) fprintf(out, ", %d steps, %d operands", now->program->step_count, now->program->operand_count);
        if (inner != NULL) fprintf(out, ", each %d calls, workspace %zu bytes:", inner->instruction_count, inner->scratch_bytes);
        fprintf(out, "\n");
        if (inner != NULL) describe_calls(inner, "    ", out);
    }
}

static void describe(const plan *p, FILE *out) {
    fprintf(out, "%d leaves, %d outputs, %d calls, workspace %zu bytes", p->leaf_count, p->output_count,
            p->instruction_count, p->scratch_bytes);
    if (p->timed_runs > 0)
        fprintf(out, ", %lld runs, the fastest %.2f us", (long long)p->timed_runs, (double)p->nanoseconds * 1e-3);
    fprintf(out, "\n");
    describe_calls(p, "", out);
}

char *plan_describe(const plan *p) {
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL) return NULL;
    describe(p, out);
    return fclose(out) == 0 ? text : NULL;
}

const char *plan_timing_end(void) {
    size_t length;
    timing = false;
    FILE *out = open_memstream(&timing_text, &length);
    for (const plan *p = first_timed; out != NULL && p != NULL; p = p->next_timed) describe(p, out);
    forget_timed();
    return out != NULL && fclose(out) == 0 ? timing_text : NULL;
}

/* --- arguments --------------------------------------------------------------------------------------------------------- */

static void run_argument(const node *y, const operand *inputs, const operand *out) { (void)y, (void)inputs, (void)out; }
OPERATOR(argument, .kind = KERNEL, .run = run_argument, .doc = "A value that is given when a compiled function is called.")

node *op_argument(dtype type, shape s, const int64_t *strides) {
    return node_new(&row_argument, type, s, 0, NULL, s.rank, strides);
}

bool node_is_leaf(const node *n) { return node_has_value(n) || n->op == &row_argument; }

/* --- evaluation through the cache --------------------------------------------------------------------------------------- */

enum { CACHE_SIZE = 64 };

typedef struct {
    uint64_t hash, last_used;
    int64_t *key; /* [key_words] */
    size_t key_words;
    plan *plan;
} cache_entry;

static cache_entry cache[CACHE_SIZE];
static plan_figures figures;
static uint64_t cache_clock;

/* The key being made: one growing list for all evaluations. */
static int64_t *key;
static size_t key_words, key_capacity;

static void key_reserve(size_t words) {
    if (key_words + words <= key_capacity) return;
    size_t capacity = 2 * (key_words + words);
    int64_t *grown = memory_allocate(capacity * sizeof *grown, "the key of a plan");
    if (key_words > 0) memcpy(grown, key, key_words * sizeof *grown);
    memory_release(key, key_capacity * sizeof *key);
    key = grown;
    key_capacity = capacity;
}

/* Arrays on their way into and out of a run: one growing list, as evaluations do not nest. */
static array *passing;
static size_t passing_capacity;

static array *passing_reserve(size_t count) {
    if (count > passing_capacity) {
        memory_release(passing, passing_capacity * sizeof *passing);
        passing_capacity = 0;
        passing = NULL;
        passing = memory_allocate(2 * count * sizeof *passing, "a computation");
        passing_capacity = 2 * count;
    }
    return passing;
}

/* All that a plan depends on: operators, shapes, attributes, who reads whom, the leaves' layouts. */
static uint64_t write_key(const node_list *order, node *const *outputs, int output_count) {
    key_words = 0;
    for (int k = 0; k < order->count; k++) {
        const node *n = order->nodes[k];
        bool leaf = node_has_value(n);
        key_reserve(3 + 2 * MAX_RANK + (size_t)n->attribute_count + (size_t)n->input_count);
        key[key_words++] = leaf ? 0 : (int64_t)(uintptr_t)n->op;
        key[key_words++] = leaf ? 0 : (int64_t)n->input_count << 32 | n->attribute_count;
        key[key_words++] = (int64_t)n->type << 8 | n->shape.rank;
        for (int axis = 0; axis < n->shape.rank; axis++) key[key_words++] = n->shape.size[axis];
        for (int axis = 0; leaf && axis < n->shape.rank; axis++) key[key_words++] = n->value.strides[axis];
        for (int i = 0; !leaf && i < n->attribute_count; i++) key[key_words++] = n->attributes[i];
        for (int i = 0; !leaf && i < n->input_count; i++) key[key_words++] = n->inputs[i]->number;
    }
    key_reserve((size_t)output_count);
    for (int o = 0; o < output_count; o++) key[key_words++] = outputs[o]->number;
    uint64_t hash = key_words;
    for (size_t k = 0; k < key_words; k++) {
        hash = (hash ^ (uint64_t)key[k]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    return hash;
}

static void cache_drop(cache_entry *entry) {
    plan_release(entry->plan);
    memory_release(entry->key, entry->key_words * sizeof *entry->key);
    *entry = (cache_entry){0};
}

static plan *cached_plan(const node_list *order, node *const *outputs, int output_count) {
    uint64_t hash = write_key(order, outputs, output_count);
    cache_entry *oldest = &cache[0];
    for (int k = 0; k < CACHE_SIZE; k++) {
        cache_entry *entry = &cache[k];
        if (entry->plan != NULL && entry->hash == hash && entry->key_words == key_words &&
            memcmp(entry->key, key, key_words * sizeof *key) == 0) {
            entry->last_used = ++cache_clock;
            figures.plans_reused++;
            return entry->plan;
        }
        if (entry->last_used < oldest->last_used) oldest = entry;
    }
    plan *made = plan_build(order, outputs, output_count, NULL);
    int64_t *own_key = memory_allocate(key_words * sizeof *key, "the key of a plan");
    memcpy(own_key, key, key_words * sizeof *key);
    cache_drop(oldest);
    *oldest = (cache_entry){hash, ++cache_clock, own_key, key_words, plan_retain(made)};
    figures.plans_made++;
    return made;
}

void plan_clear_cache(void) {
    for (int k = 0; k < CACHE_SIZE; k++)
        if (cache[k].plan != NULL) cache_drop(&cache[k]);
    memory_release(key, key_capacity * sizeof *key);
    key = NULL;
    key_words = key_capacity = 0;
    memory_release(passing, passing_capacity * sizeof *passing);
    passing = NULL;
    passing_capacity = 0;
    node_clear_lists();
    memory_release(workspace, workspace_bytes);
    workspace = NULL;
    workspace_bytes = 0;
}

plan_figures plan_status(void) {
    figures.scratch_bytes = workspace_bytes;
    return figures;
}

/* Is there room for n, and more than that? */
static bool is_affordable(const node *n) {
    memory_figures memory = memory_status();
    return (size_t)shape_elements(n->shape) * dtype_bytes(n->type) <= (memory.budget - memory.live) / 8;
}

static void add_output(node_list *outputs, node *n) {
    for (int o = 0; o < outputs->count; o++)
        if (outputs->nodes[o] == n) return;
    node_list_push(outputs, n);
}

/* Outside of traces, whatever a user has held and a kernel computes on the way is kept as well: who looks at a sum
 * today may look at its terms tomorrow. So is an elementwise value that was computed on the way before, if a new one is made
 * of it: the averages of a hand-written optimiser, of which only the parameters are asked for, stay one step long. */
static void add_kept(node_list *outputs, const node_list *order) {
    for (int k = 0; k < order->count; k++) {
        node *n = order->nodes[k];
        if (node_has_value(n) || n->input_count == 0) continue;
        if (n->exposed && n->op->kind == KERNEL) add_output(outputs, n);
        for (int i = 0; i < n->input_count && !n->passed; i++) {
            node *in = n->inputs[i];
            while (!node_has_value(in) && in->op->kind == VIEW) in = in->inputs[0];
            bool again = !node_has_value(in) && in->passed && in->op->kind == ELEMENTWISE;
            if (again && is_affordable(in)) add_output(outputs, in);
        }
    }
}

static void mark_passed(const node_list *order) {
    for (int k = 0; k < order->count; k++) order->nodes[k]->passed = true;
}

/* A view of numbers that are there needs no plan: it is given its value at once. So where a slice begins is no part of
 * a graph's structure, and a loop over batches keeps its plan. */
static bool resolve_views(const node_list *order) {
    bool any = false;
    node_reserve_values(order->count);
    for (int k = 0; k < order->count; k++) {
        node *n = order->nodes[k];
        operand in, out;
        if (node_has_value(n) || n->op->kind != VIEW || !node_has_value(n->inputs[0])) continue;
        array value = n->inputs[0]->value;
        in = (operand){.type = value.type, .shape = value.shape, .offset = value.offset};
        memcpy(in.strides, value.strides, sizeof in.strides);
        if (!n->op->view(n, &in, &out)) continue;
        value.shape = n->shape;
        value.offset = out.offset;
        memcpy(value.strides, out.strides, sizeof value.strides);
        node_set_value(n, array_retain(value));
        any = true;
    }
    return any;
}

static void sort_pending(node *const *nodes, int count, node_list *wanted, node_list *order) {
    wanted->count = order->count = 0;
    for (int k = 0; k < count; k++)
        if (!node_has_value(nodes[k])) node_list_push(wanted, nodes[k]);
    node_sort(order, wanted->nodes, wanted->count, false);
}

void evaluate(node *const *nodes, int count) {
    node_list *wanted = node_list_new(), *order = node_list_new();
    sort_pending(nodes, count, wanted, order);
    for (int k = 0; k < order->count; k++)
        if (!node_has_value(order->nodes[k]) && node_is_leaf(order->nodes[k]))
            fail(ERROR_STATE, "a value was asked for while its function is being compiled or mapped: it is not known yet");
    if (resolve_views(order)) sort_pending(nodes, count, wanted, order);
    if (wanted->count == 0) return;
    if (trace_level() == 0) add_kept(wanted, order);
    plan *p = cached_plan(order, wanted->nodes, wanted->count);
    array *leaves = passing_reserve((size_t)(order->count + wanted->count)), *values = leaves + order->count;
    int leaf_count = 0;
    for (int k = 0; k < order->count; k++)
        if (node_has_value(order->nodes[k])) leaves[leaf_count++] = order->nodes[k]->value;
    node_reserve_values(wanted->count); /* from here on only the run itself can fail */
    plan_run(p, leaves, values);
    mark_passed(order);
    for (int k = 0; k < wanted->count; k++) node_retain(wanted->nodes[k]);
    for (int k = 0; k < wanted->count; k++) /* a node may have been asked for twice */
        if (node_has_value(wanted->nodes[k])) array_release(&values[k]);
        else node_set_value(wanted->nodes[k], values[k]);
    for (int k = 0; k < wanted->count; k++) node_release(wanted->nodes[k]);
    figures.live_after_run = memory_status().live;
}
