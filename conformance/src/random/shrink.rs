//! Leaves steps out while a difference stays.

use super::mask::Mask;

/// The smallest mask found under which `differs` still holds, for a sequence of `count` drawn steps.
pub fn shrink(count: usize, mut differs: impl FnMut(&Mask) -> bool) -> Mask {
    let mut mask = Mask::all();
    let mut size = count.div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < count {
            let part: Vec<usize> =
                (from..(from + size).min(count)).filter(|number| mask.keeps(*number)).collect();
            if !part.is_empty() {
                let smaller = mask.without(&part);
                if differs(&smaller) {
                    mask = smaller;
                }
            }
            from += size;
        }
        size /= 2;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_difference_needs_is_left() {
        let mask = shrink(20, |mask| mask.keeps(3) && mask.keeps(17));
        let kept: Vec<usize> = (0..20).filter(|number| mask.keeps(*number)).collect();
        assert_eq!(kept, [3, 17]);
    }
}
