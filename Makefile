# plumb: `make` builds ./plumb; `make help` lists the rest.

PREFIX  ?= /usr/local
CC      ?= gcc
# The kernels are compiled for one processor: this one, unless told otherwise (e.g. ARCH=x86-64-v3).
ARCH    ?= native
VERSION := 0.1.0

PACKAGES := lua5.4 openblas readline zlib
CPPFLAGS += -D_GNU_SOURCE -DPLUMB_VERSION=\"$(VERSION)\" -Icore
CFLAGS   ?= -O3 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow
# -fwrapv: int64 tensors wrap. The two maths flags let loops with sqrt, rint or comparisons use vectors; NaN, infinity
# and the order of sums stay as written.
CODEGEN  := -std=gnu17 -march=$(ARCH) -fwrapv -fno-math-errno -fno-trapping-math -pthread

ifeq ($(SAN),1)
  BUILD   := build/san
  CFLAGS  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else
  BUILD   := build/release
endif

PROGRAM := plumb
SOURCES := $(wildcard core/*.c) $(wildcard bindings/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

.PHONY: all deps data test lint demo bench clean install help

all: $(PROGRAM)

help:
	@sed -n 's/^## //p' Makefile

## make            builds ./plumb
## make deps       installs what is missing (Debian packages) and fetches the data
## make data       fetches MNIST
## make test       builds and runs the tests; SAN=1 does so under ASan and UBSan
## make lint       luacheck, and the order of includes in core/
## make demo       two experiments on real data, in under two minutes
## make bench      plumb beside PyTorch (needs python3-torch)
## make install    PREFIX=/usr/local
## make clean

# Rebuilt when the processor or the flags change: objects for another machine would not run.
STAMP := $(BUILD)/flags
FLAGS := $(CC) $(CPPFLAGS) $(CFLAGS) $(CODEGEN) $(shell $(CC) -march=$(ARCH) -Q --help=target 2>/dev/null | grep -E 'march=|mtune=' | tr -d '\t\n')
$(STAMP): .FORCE
	@mkdir -p $(BUILD)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@
# ./plumb is linked anew when the other kind of build was the last.
build/kind: .FORCE
	@mkdir -p build
	@echo $(BUILD) | cmp -s - $@ || echo $(BUILD) > $@
.PHONY: .FORCE

$(BUILD)/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CODEGEN) $(CFLAGS) $(WARNINGS) $(shell pkg-config --cflags $(PACKAGES)) -MMD -MP -c $< -o $@

$(PROGRAM): $(OBJECTS) build/kind
	$(CC) $(CFLAGS) -pthread -Wl,-E -o $@ $(OBJECTS) $(shell pkg-config --libs $(PACKAGES)) -lmvec -lm

-include $(OBJECTS:.o=.d)

clean:
	rm -rf build plumb
