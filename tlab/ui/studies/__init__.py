"""Many short runs that answer one question together: the same comparison from several seeds, or at several rates."""
