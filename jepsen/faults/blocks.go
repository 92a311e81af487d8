package faults

// BlocksVar set to 1 makes the files of the machine's disk such that are written and synced in one operation (walfs.BlockWriter), as those of
// most Linux file systems are. Without it a log writes to them by WriteAt and Sync.
const BlocksVar = "FASTPACA_FAULTS_BLOCKS"

// blockFile is a file that is a walfs.BlockWriter. What is under way when power is lost is as bytes that were not synced: there, or not,
// or torn, block by block.
type blockFile struct{ *file }

// WriteBlocks implements walfs.BlockWriter.
func (f blockFile) WriteBlocks(p []byte, off int64) (done bool, err error) {
	if _, err := f.WriteAt(p, off); err != nil {
		return false, err
	}
	if err := f.Sync(); err != nil {
		return false, err
	}
	return true, nil
}
