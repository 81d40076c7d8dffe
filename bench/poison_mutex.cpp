// Undisturbed sections of a mutex, with and without poisoning.
#include "poison_sections.hpp"

namespace bench {

sections sections_of_mutex() {
    return sections_of<shared>();
}

} // namespace bench
