// Errors of the operating system in words.
import { fileError, PareError } from '../errors.js';

const MEANINGS: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'the operation is not permitted',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is no folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'the name is too long',
  EINVAL: 'it is not a regular file',
  EFBIG: 'the file would be too large for the file system',
  EIO: 'the disk reported an error',
};

/** E_FILE for an error of the file system; errors of Pare pass through. */
export function systemError(error: unknown, verb: 'read' | 'write', path: string): PareError {
  if (error instanceof PareError) return error;
  const code = (error as { code?: unknown }).code;
  const meaning = typeof code === 'string' ? (MEANINGS[code] ?? code) : String((error as Error).message ?? error);
  return fileError(`cannot ${verb} "${path}": ${meaning}`, { place: { file: path }, cause: error });
}
