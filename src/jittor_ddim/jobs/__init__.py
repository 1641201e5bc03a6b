"""What a command does, from typed values to files: folder, data, engine, output."""
