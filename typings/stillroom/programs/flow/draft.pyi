from programs.flow.draft import *
