from programs.judges import *
