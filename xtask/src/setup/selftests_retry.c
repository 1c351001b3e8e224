/*
 * Calls the driver again where it says EAGAIN: a page in the middle of being written out by the reclaimer, which works on
 * another core (Documentation/x86/sgx.rst; include/uapi/asm/sgx.h: "count" is how far it came). Linked in front of ioctl.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

/* What SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, _MODIFY_TYPES and _REMOVE_PAGES begin with. */
struct request {
	uint64_t offset, length;
	uint64_t rest[3];
};

int __real_ioctl(int file, unsigned long number, void *argument);

int __wrap_ioctl(int file, unsigned long number, void *argument)
{
	unsigned int command = number & 0xff, magic = number >> 8 & 0xff;
	unsigned int last = (number >> 16 & 0x3fff) / 8 - 3;
	struct request *request = argument;
	uint64_t offset, length, done = 0;
	int result;

	if (magic != 0xa4 || command < 5 || command > 7)
		return __real_ioctl(file, number, argument);
	offset = request->offset;
	length = request->length;
	do {
		/* The driver takes no other. */
		request->rest[last] = 0;
		result = __real_ioctl(file, number, argument);
		done += request->rest[last];
		request->offset = offset + done;
		request->length = length - done;
	} while (result == -1 && errno == EAGAIN);
	request->offset = offset;
	request->length = length;
	request->rest[last] = done;
	return result;
}
