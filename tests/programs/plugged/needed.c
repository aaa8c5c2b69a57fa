/* What a shared object needs that links the crate. */

int only_the_host_has(void) {
    return 7;
}
