// Statics with constructors, as C++ libraries have them.

#include <cstdlib>
#include <map>
#include <string>

namespace {

struct Static {
    std::map<std::string, int> table;
    int constructed = 0;
    // The crate's entry removes the marker when it intercepts a child. So in a worker this is true if this constructor
    // ran before the entry.
    bool saw_marker = false;

    Static() {
        constructed += 1;
        table["forty"] = 40;
        table["two"] = 2;
        saw_marker = std::getenv("MULTICORE_FORK_SERVER") != nullptr;
    }
};

// Constructors with a priority run before all others.
__attribute__((init_priority(200))) Static early;
// This object is the last one on the linker's command line, so its constructors run last among those without a priority.
Static late;

int calls = 0;
__attribute__((constructor)) void plain_constructor() { calls += 1; }

int sum(const Static& object) {
    int sum = 0;
    for (const auto& entry : object.table) sum += entry.second;
    return object.constructed == 1 ? sum : -object.constructed;
}

}  // namespace

extern "C" int cpp_early() { return sum(early); }
extern "C" int cpp_late() { return sum(late); }
extern "C" int cpp_early_saw_marker() { return early.saw_marker; }
extern "C" int cpp_late_saw_marker() { return late.saw_marker; }
extern "C" int cpp_constructor_calls() { return calls; }
